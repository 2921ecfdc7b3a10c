#!/bin/sh
# Holds `bench file-read --cache cold` against fio on the same file at the same depth.
#
#   fio-compare.sh DATASET [--depth D] [--shards K] [--seconds S] [-- FLAGS OF bench file-read]
#
# fio reads 4 KiB at random from the dataset's largest data file right before and right
# after the bench; the ratio printed is rows/s over the mean of the two. It says something
# about the store where a row is one read, such as a vector of up to 4 KiB.
# Needs fio with io_uring. BENCH names a bench binary; without it one is built.
set -eu

usage() {
    sed -n '4s/^#   /usage: /p' "$0" >&2
    exit 2
}

fail() {
    echo "fio-compare: $1" >&2
    exit 1
}

depth=128
shards=1
seconds=10
[ $# -ge 1 ] || usage
dataset=$1
shift
while [ $# -gt 0 ]; do
    case $1 in
        --) shift && break ;;
        --depth) depth=${2:-} ;;
        --shards) shards=${2:-} ;;
        --seconds) seconds=${2:-} ;;
        *) usage ;;
    esac
    shift 2 || usage
done
for number in "$depth" "$shards" "$seconds"; do
    case $number in *[!0-9]* | '' | 0) usage ;; esac
done

command -v fio >/dev/null || fail "fio is missing; install it"
[ -f "$dataset/MANIFEST" ] || fail "'$dataset' is not a dataset"
file=$(find -L "$dataset" -type f \( -name 'g*.rows' -o -name 'g*.values' \) -printf '%s %p\n' |
    sort -rn | head -1 | cut -d' ' -f2-)
[ -n "$file" ] || fail "'$dataset' has no data file below it"

if [ -z "${BENCH:-}" ]; then
    root=$(cd "$(dirname "$0")/../.." && pwd)
    cargo build --quiet --release --bin bench --manifest-path "$root/Cargo.toml"
    target=${CARGO_TARGET_DIR:-$root/target}
    BENCH=$target/release/bench
fi

# Reads per second: the eighth field of fio's terse output.
reads_per_s() {
    fio --name=yardstick --filename="$file" --readonly --rw=randread --bs=4k \
        --ioengine=io_uring --direct=1 --registerfiles --fixedbufs \
        --iodepth="$depth" --numjobs="$shards" --group_reporting \
        --time_based --runtime="$seconds" --output-format=terse |
        awk -F';' 'NF > 8 && !found { print $8; found = 1 }'
}

record=$(mktemp)
trap 'rm -f "$record"' EXIT INT TERM

before=$(reads_per_s)
"$BENCH" file-read --dataset "$dataset" --cache cold --shards "$shards" --queue-depth "$depth" \
    --seconds "$seconds" --json "$record" "$@"
after=$(reads_per_s)
[ -n "$before" ] && [ -n "$after" ] || fail "fio gave no number; run it by hand on $file"

# The fields of the record itself are indented by two blanks.
field() {
    sed -n "s/^  \"$1\": \(.*[^,]\),\{0,1\}\$/\1/p" "$record"
}
rows_per_s=$(field rows_per_s)
awk -v before="$before" -v after="$after" -v rows="$rows_per_s" -v valid="$(field valid)" \
    -v depth="$depth" -v jobs="$shards" 'BEGIN {
    mean = (before + after) / 2
    printf "\nfio reads/s  before %d, after %d, mean %d (%d job(s), depth %d)\n", before, after, mean, jobs, depth
    printf "bench rows/s %d (valid: %s)\n", rows, valid
    printf "rows/s over fio reads/s: %.3f\n", rows / mean
}'
