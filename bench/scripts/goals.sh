#!/bin/sh
# Compares the store with its yardsticks and prints one line for each: the median of the ratio
# over all rounds, its range, the floor and the goal.
#
#   goals.sh DISK_DATASET RAM_DATASET [--search DIR] [--rounds N] [--seconds S]
#
# DISK_DATASET is on the drive, RAM_DATASET on the device that ramdisk.sh makes; both hold vectors
# of 3 KiB, such as those of `ringtake generate DIR --rows 400000 --vector 768`. In each round the
# store and its yardstick run in turn. With --search, where `bench vector-search --dir DIR` keeps its
# dataset, the exact distances of a search are compared with a loop that computes only those. A run
# that the device's counters do not prove is left out and counted. Needs fio with io_uring. BENCH
# names a bench binary; by default one is built.
set -eu

usage() {
    sed -n '5s/^#   /usage: /p' "$0" >&2
    exit 2
}

fail() {
    echo "goals: $1" >&2
    exit 1
}

rounds=5
seconds=4
search=
[ $# -ge 2 ] || usage
disk=$1
ram=$2
shift 2
while [ $# -gt 0 ]; do
    case $1 in
        --search) search=${2:-} ;;
        --rounds) rounds=${2:-} ;;
        --seconds) seconds=${2:-} ;;
        *) usage ;;
    esac
    shift 2 || usage
done
for number in "$rounds" "$seconds"; do
    case $number in *[!0-9]* | '' | 0) usage ;; esac
done
command -v fio >/dev/null || fail "fio is missing; install it"
for dataset in "$disk" "$ram"; do
    [ -f "$dataset/MANIFEST" ] || fail "'$dataset' is not a dataset"
done
[ -z "$search" ] || [ -f "$search/dataset/MANIFEST" ] ||
    fail "'$search' has no dataset; make it with 'bench vector-search --dir $search'"
if [ -z "${BENCH:-}" ]; then
    root=$(cd "$(dirname "$0")/../.." && pwd)
    cargo build --quiet --release --bin bench --manifest-path "$root/Cargo.toml"
    BENCH=${CARGO_TARGET_DIR:-$root/target}/release/bench
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# NAME COMMAND...: runs the bench and adds "rows/s rows/s/core cpu/row clients' cpu/row
# switches/row reads/row cpu/query [goodput]" to NAME, or "invalid" if nothing proves the run.
bench_run() {
    name=$1
    shift
    "$BENCH" "$@" --seconds "$seconds" --json "$work/record" >/dev/null 2>"$work/said" ||
        fail "$(tail -1 "$work/said")"
    field() { sed -n "s/^  \"$1\": \(.*[^,]\),\{0,1\}\$/\1/p" "$work/record"; }
    if [ "$(field valid)" = true ]; then
        echo "$(field rows_per_s) $(field rows_per_s_per_core) $(field cpu_us_per_row) $(field client_cpu_us_per_row) $(field context_switches_per_row) $(field device_reads_per_row) $(field cpu_us_per_query) $(sed -n 's/^ *"goodput": \(.*\)$/\1/p' "$work/record")"
    else
        echo invalid
    fi >>"$work/$name"
}

# NAME DATASET DEPTH: adds "reads/s - cpu/read" of fio on the dataset's largest file to NAME.
fio_run() {
    file=$(find -L "$2" -type f -name 'g*.rows' -printf '%s %p\n' | sort -rn | head -1 | cut -d' ' -f2-)
    fio --name=yardstick --filename="$file" --readonly --rw=randread --bs=4k --ioengine=io_uring \
        --direct=1 --registerfiles --fixedbufs --clocksource=clock_gettime --iodepth="$3" --time_based --runtime="$seconds" \
        --output-format=json | awk -F'[:,]' '
        /"total_ios"/ && !ios { ios = $2 }
        /"runtime" : [0-9]/ && !ms { ms = $2 }
        /"usr_cpu"/ && !usr { usr = $2 }
        /"sys_cpu"/ && !sys { sys = $2 }
        END { printf "%f - %f\n", ios * 1000 / ms, (usr + sys) / 100 * ms * 1000 / ios }' >>"$work/$1"
}

# WHAT A COLUMN-OF-A B COLUMN-OF-B FLOOR GOAL: the ratio of two columns, round by round.
ratio() {
    paste "$work/$2" "$work/$4" | awk -v a="$3" -v b="$5" -v width="$(awk 'NF > 1 { print NF; exit }' "$work/$2")" '
        /invalid/ || $(width + b) + 0 == 0 { next }
        { print $a / $(width + b) }' | sort -n >"$work/ratios"
    report "$1" "$6" "$7"
}

# WHAT A COLUMN FLOOR GOAL: one column, without a ratio.
figure() {
    awk -v column="$3" '!/invalid/ { print $column }' "$work/$2" | sort -n >"$work/ratios"
    report "$1" "$4" "$5"
}

# WHAT LOOP WITHOUT WITH FLOOR GOAL: the loop's CPU per query over the difference of WITH and WITHOUT.
added() {
    paste "$work/$2" "$work/$3" "$work/$4" | awk '
        /invalid/ { next }
        { print $7 / ($21 - $14) }' | sort -n >"$work/ratios"
    report "$1" "$5" "$6"
}

report() {
    awk -v what="$1" -v floor="$2" -v goal="$3" -v rounds="$rounds" '
        { value[NR] = $1 }
        END {
            if (!NR) { printf "| %s | no proven round | | %s | %s |\n", what, floor, goal; exit }
            median = NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2
            printf "| %s | %.3g | %.3g to %.3g, %d of %d rounds | %s | %s |\n", what, median, value[1], value[NR], NR, rounds, floor, goal
        }' "$work/ratios"
}

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    fio_run disk_fio "$disk" 256
    bench_run disk_store file-read --dataset "$disk" --shards 1 --queue-depth 256 --attempts 3
    fio_run ram_fio "$ram" 128
    bench_run ram_ring ceiling --dataset "$ram" --queue-depth 128
    bench_run ram_store file-read --dataset "$ram" --shards 1 --queue-depth 128
    bench_run ram_overload file-read --dataset "$ram" --shards 1 --rate 150% --deadline 20
    bench_run ram_mmap ceiling --dataset "$ram" --by mmap
    bench_run ram_warm file-read --dataset "$ram" --shards 1 --cache warm
    bench_run ram_pinned file-read --dataset "$ram" --shards 1 --cache warm --cache-bytes pinned
    [ -n "$search" ] || continue
    searches="vector-search --dir $search --cache warm --recall-queries 0"
    # shellcheck disable=SC2086
    {
        bench_run search_loop $searches --yardstick map
        bench_run search_codes $searches --cache-bytes pinned --shards 1 --nprobes 20 --refine-factor none
        bench_run search_refined $searches --cache-bytes pinned --shards 1 --nprobes 20
    }
done

echo "| what | median | range | floor | goal |"
echo "|---|---|---|---|---|"
ratio "cold, drive: rows/s over fio's reads/s" disk_store 1 disk_fio 1 0.97 0.99
ratio "cold, RAM device: CPU per row over the bare ring's per read" ram_store 3 ram_ring 3 1.4 1.15
ratio "the same over fio's" ram_store 3 ram_fio 3 1.0 0.7
ratio "cold, RAM device: rows/s of one shard over fio's reads/s of one job" ram_store 1 ram_fio 1 - -
figure "cold, drive: device reads per row" disk_store 6 1.00 1.00
ratio "warm, pinned: rows/s per core over the mmap loop's" ram_pinned 2 ram_mmap 2 0.80 1.05
ratio "warm, S3-FIFO: rows/s per core over the mmap loop's" ram_warm 2 ram_mmap 2 0.80 1.05
figure "cold, RAM device: context switches per row" ram_store 5 0.01 0.001
figure "cold, RAM device: queries answered within 20 ms at 150% of the capacity, over the capacity" ram_overload 8 0.95 0.98
figure "cold, drive: context switches per row" disk_store 5 0.01 0.001
[ -z "$search" ] ||
    added "search, pinned: a loop over mapped rows with the same distances, over what refining adds to a query" search_loop search_codes search_refined 0.75 0.90
