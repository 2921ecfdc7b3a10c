#!/bin/sh
# Makes runs that have one thing wrong each, and checks their verdicts.
#
#   verdicts.sh DATASET [SECONDS] [-o REPORT.html]
#
# Fails if a verdict is not the expected one. For one run a control group limits the reads per second
# of the device; that needs root, and is left out without it. Writes the page of all runs. BENCH is
# the program, by default `bench` as cargo builds it.
set -eu

fail() {
    echo "verdicts: $1" >&2
    exit 1
}

usage() {
    sed -n '4s/^#   /usage: /p' "$0" >&2
    exit 2
}

[ $# -ge 1 ] || usage
dataset=$1
shift
seconds=4
case ${1:-} in
    '' | -o) ;;
    *) seconds=$1; shift ;;
esac
page=verdicts.html
[ $# -eq 0 ] || { [ $# -eq 2 ] && [ "$1" = -o ] || usage; page=$2; }
[ -f "$dataset/MANIFEST" ] || fail "$dataset is not a dataset; give one that \`ringtake\` has made"
here=$(dirname "$0")
if [ -z "${BENCH:-}" ]; then
    cargo build --release --quiet --bin bench --manifest-path "$here/../../Cargo.toml"
    BENCH=$here/../../target/release/bench
fi
place=$(mktemp -d)
group=
trap 'rm -rf "$place"; [ -z "$group" ] || rmdir "$group" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

wrong=0
# run NAME EXPECTED COMMAND...
run() {
    name=$1
    expected=$2
    shift 2
    "$@" --json "$place/$name.json" >/dev/null 2>"$place/log" || fail "$name failed: $(tail -1 "$place/log")"
    limit=$(sed -n 's/^ *"limit": "\(.*\)".*/\1/p' "$place/$name.json" | head -1)
    words=$(sed -n 's/^ *"words": "\(.*\)",\{0,1\}$/\1/p' "$place/$name.json" | head -1)
    mark=ok
    [ "$limit" = "$expected" ] || { mark="WRONG, not $expected"; wrong=1; }
    echo "$name: $limit ($mark)"
    echo "    $words"
}
read_rows() {
    "$BENCH" file-read --dataset "$dataset" --seconds "$seconds" "$@"
}

run cold device read_rows
run warm cpu read_rows --cache warm --rows 200000
run per-read hand-over read_rows --read-path thread-pool:16 --scheduler per-read
run few-clients clients read_rows --in-flight 1 --rows-per-query 4
run bursts clients read_rows --in-flight 1 --rows-per-query 64
cat "$dataset"/data-*/*.rows >/dev/null
run page-cache not-proven read_rows --io buffered --rows 20000

# A control group of version 1 or 2 that limits reads of the drive to 4,000 per second.
device=$(stat -c %d "$dataset/MANIFEST")
major=$(((device >> 8) & 0xfff))
minor=$(((device & 0xff) | ((device >> 12) & 0xfff00)))
drive=$(readlink -f "/sys/dev/block/$major:$minor")
[ ! -f "$drive/partition" ] || drive=$(dirname "$drive")
number=$(cat "$drive/dev" 2>/dev/null || true)
slow() {
    group=$1
    mkdir "$group" 2>/dev/null && echo "$3" 2>/dev/null >"$group/$2" || {
        rmdir "$group" 2>/dev/null || true
        group=
    }
}
if [ -d /sys/fs/cgroup/blkio ]; then
    slow "/sys/fs/cgroup/blkio/verdicts-$$" blkio.throttle.read_iops_device "$number 4000"
else
    slow "/sys/fs/cgroup/verdicts-$$" io.max "$number riops=4000"
fi
if [ -n "$group" ]; then
    # shellcheck disable=SC2016
    run slow-device held-back sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' - "$group" \
        "$BENCH" file-read --dataset "$dataset" --seconds "$seconds"
else
    echo "slow-device: left out, no control group with a limit on reads can be made here"
fi

"$BENCH" report "$place"/*.json -o "$page"
exit "$wrong"
