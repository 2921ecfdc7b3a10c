#!/bin/sh
# Compares `bench file-read --cache cold` with fio on the same file at the same depth.
#
#   fio-compare.sh DATASET [--depth D] [--shards K] [--seconds S] [--rate R] [-- FLAGS OF bench file-read]
#
# fio reads 4 KiB at random from the dataset's largest data file right before and right
# after the bench; the ratio printed is rows/s over the mean of the two. The ratio is
# meaningful if a row is one read, such as a vector of up to 4 KiB.
# With --rate, R reads/s arrive at random at both, one row per query, and the ratios are
# those of p50, p99 and p99.9. fio counts from the submission of a read, the bench from the
# planned arrival of its query, so the bench's latency includes more.
# Needs fio with io_uring. BENCH names a bench binary; by default one is built.
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
rate=
[ $# -ge 1 ] || usage
dataset=$1
shift
while [ $# -gt 0 ]; do
    case $1 in
        --) shift && break ;;
        --depth) depth=${2:-} ;;
        --shards) shards=${2:-} ;;
        --seconds) seconds=${2:-} ;;
        --rate) rate=${2:-} ;;
        *) usage ;;
    esac
    shift 2 || usage
done
for number in "$depth" "$shards" "$seconds" "${rate:-1}"; do
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

# fio's terse output, one line.
fio_terse() {
    fio --name=yardstick --filename="$file" --readonly --rw=randread --bs=4k \
        --ioengine=io_uring --direct=1 --registerfiles --fixedbufs --clocksource=clock_gettime \
        --iodepth="$depth" --numjobs="$shards" --group_reporting \
        --time_based --runtime="$seconds" --output-format=terse "$@" |
        awk -F';' 'NF > 8 && !found { print; found = 1 }'
}

# Reads per second: the eighth field.
reads_per_s() {
    fio_terse | cut -d';' -f8
}

# Reads per second, p50, p99 and p99.9 in microseconds; the percentiles of reads come first.
latencies() {
    fio_terse --rate_iops="$((rate / shards))" --rate_process=poisson | awk -F';' '{
        for (i = 1; i <= NF; i++) {
            if (!p50 && $i ~ /^50\.000000%=/) { split($i, part, "="); p50 = part[2] }
            if (!p99 && $i ~ /^99\.000000%=/) { split($i, part, "="); p99 = part[2] }
            if (!p999 && $i ~ /^99\.900000%=/) { split($i, part, "="); p999 = part[2] }
        }
        print $8, p50, p99, p999
    }'
}

record=$(mktemp)
trap 'rm -f "$record"' EXIT INT TERM

# The fields of the record itself are indented by two spaces, those of its latency by four.
field() {
    sed -n "s/^  \"$1\": \(.*[^,]\),\{0,1\}\$/\1/p" "$record"
}
latency() {
    sed -n "/^  \"latency_us\"/,/^  }/s/^    \"$1\": \([0-9.]*\),\{0,1\}\$/\1/p" "$record"
}

if [ -n "$rate" ]; then
    before=$(latencies)
    "$BENCH" file-read --dataset "$dataset" --cache cold --shards "$shards" --queue-depth "$depth" \
        --seconds "$seconds" --rows-per-query 1 --rate "$rate" --json "$record" "$@"
    after=$(latencies)
    echo "$before $after $(field queries_per_s) $(latency p50) $(latency p99) $(latency p999) $(field valid)" | awk '
    NF != 13 { print "fio-compare: a number is missing: " $0; exit 1 }
    {
        p50 = ($2 + $6) / 2; p99 = ($3 + $7) / 2; p999 = ($4 + $8) / 2
        printf "\nfio    %d and %d reads/s, p50 %d and %d us, p99 %d and %d us, p99.9 %d and %d us\n", $1, $5, $2, $6, $3, $7, $4, $8
        printf "bench  %d queries/s, p50 %d us, p99 %d us, p99.9 %d us (valid: %s)\n", $9, $10, $11, $12, $13
        printf "over fio: p50 %.2f, p99 %.2f, p99.9 %.2f\n", $10 / p50, $11 / p99, $12 / p999
    }'
    exit
fi

before=$(reads_per_s)
"$BENCH" file-read --dataset "$dataset" --cache cold --shards "$shards" --queue-depth "$depth" \
    --seconds "$seconds" --json "$record" "$@"
after=$(reads_per_s)
[ -n "$before" ] && [ -n "$after" ] || fail "fio gave no number; run it by hand on $file"

rows_per_s=$(field rows_per_s)
awk -v before="$before" -v after="$after" -v rows="$rows_per_s" -v valid="$(field valid)" \
    -v depth="$depth" -v jobs="$shards" 'BEGIN {
    mean = (before + after) / 2
    printf "\nfio reads/s  before %d, after %d, mean %d (%d job(s), depth %d)\n", before, after, mean, jobs, depth
    printf "bench rows/s %d (valid: %s)\n", rows, valid
    printf "rows/s over fio reads/s: %.3f\n", rows / mean
}'
