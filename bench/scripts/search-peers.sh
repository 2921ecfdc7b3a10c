#!/bin/sh
# Searches by vector with Ringtake, Lance and faiss in turn, and prints one table with their recall.
#
#   search-peers.sh DATASET QUERIES [--partitions N] [--sub-vectors N] [--nprobes N,N] [--kinds cold,warm] [--seconds S] [--rounds N] [--threads T] [--in-flight C] [--peers NAME,NAME] [--storages DIR] [--records DIR]
#
# DATASET has an index of --partitions partitions on its column `vector`; QUERIES is an .npy file of
# vectors. Each subject has the same rows, queries, partitions, nprobes, k 50 and refine factor 10,
# and is compared with the same true neighbours. Lance and faiss have an IVF_PQ of N sub-vectors,
# one byte of code for each. Each run is a process of its own; a round runs every subject once, in
# turn. faiss keeps everything in memory, so it runs warm only. The peers' files are written once,
# into DIR (default: beside DATASET, DATASET.peers), and kept.
#
# Lance takes half an hour or more to build and needs protobuf-compiler; faiss needs Python with
# the modules of bench/peers/faiss/requirements.txt. PYTHON, BENCH and PEER_LANCE may name the
# programs.
set -eu

usage() {
    sed -n '4s/^#   /usage: /p' "$0" >&2
    exit 2
}

fail() {
    echo "search-peers: $1" >&2
    exit 1
}

lance='lance-file lance-uring lance-uring-current-thread'
peers='lance-uring-current-thread faiss'
partitions=256
sub_vectors=48
nprobes='1 20'
kinds='cold warm'
seconds=10
rounds=5
threads=2
in_flight=4
storages=
records=
[ $# -ge 2 ] || usage
case $1$2 in -*) usage ;; esac
dataset=${1%/}
asked=$2
shift 2
while [ $# -gt 0 ]; do
    case $1 in
        --partitions) partitions=${2:-} ;;
        --sub-vectors) sub_vectors=${2:-} ;;
        --nprobes) nprobes=$(echo "${2:-}" | tr , ' ') ;;
        --kinds) kinds=$(echo "${2:-}" | tr , ' ') ;;
        --seconds) seconds=${2:-} ;;
        --rounds) rounds=${2:-} ;;
        --threads) threads=${2:-} ;;
        --in-flight) in_flight=${2:-} ;;
        --peers) peers=$(echo "${2:-}" | tr , ' ') ;;
        --storages) storages=${2:-} ;;
        --records) records=${2:-} ;;
        *) usage ;;
    esac
    shift 2 || usage
done
for number in "$partitions" "$sub_vectors" "$seconds" "$rounds" "$threads" "$in_flight" $nprobes; do
    case $number in *[!0-9]* | '' | 0) usage ;; esac
done
for kind in $kinds; do
    case $kind in cold | warm) ;; *) usage ;; esac
done
for peer in $peers; do
    case " $lance faiss " in
        *" $peer "*) ;;
        *) fail "'$peer' is not a peer; the peers are $lance faiss" ;;
    esac
done
[ -f "$dataset/MANIFEST" ] || fail "'$dataset' is not a dataset"
[ -f "$asked" ] || fail "'$asked' is not a file of queries"
storages=${storages:-$dataset.peers}

root=$(cd "$(dirname "$0")/../.." && pwd)
workspace=$root/bench/peers
python=${PYTHON:-python3}
if [ -z "${BENCH:-}" ]; then
    cargo build --quiet --release --bin bench --manifest-path "$root/Cargo.toml"
    BENCH=${CARGO_TARGET_DIR:-$root/target}/release/bench
fi
with_lance=
for peer in $peers; do
    case " $lance " in *" $peer "*) with_lance=1 ;; esac
done
if [ -z "${PEER_LANCE:-}" ] && [ -n "$with_lance" ]; then
    cargo build --quiet --release -p ringtake-peer-lance --manifest-path "$workspace/Cargo.toml"
    PEER_LANCE=${CARGO_TARGET_DIR:-$workspace/target}/release/peer-lance
fi
tables=${PEER_LANCE:-}
if [ -z "$tables" ]; then
    tables=${PEERS:-${CARGO_TARGET_DIR:-$workspace/target}/release/peers}
    [ -n "${PEERS:-}" ] ||
        cargo build --quiet --release -p ringtake-peers --manifest-path "$workspace/Cargo.toml"
fi

# Rows, queries and true neighbours, as arrays that every subject can read.
arrays=$storages/search
if [ ! -f "$arrays/nearest.npy" ]; then
    echo "search-peers: writing $arrays" >&2
    "$BENCH" vector-search --dataset "$dataset" --column vector --queries "$asked" --export "$arrays"
fi
[ -z "$with_lance" ] || "$PEER_LANCE" prepare --dataset "$dataset" --storages "$storages"
# Otherwise the kernel would write back new files during a run.
sync

made_records=
trap '[ -z "$made_records" ] || rm -rf "$made_records"' EXIT
trap 'exit 130' INT TERM
if [ -z "$records" ]; then
    records=$(mktemp -d)
    made_records=$records
else
    mkdir -p "$records"
fi

# One run of subject $1, of kind $2, with $3 probes, in round $4.
run() {
    record=$records/$4.$2.$3.$1.json
    # A record of an earlier call must not count for this one.
    rm -f "$record"
    echo "round $4: $1, $2, nprobes $3" >&2
    flags="--queries $arrays/queries.npy --k 50 --nprobes $3 --refine-factor 10 --seconds $seconds --threads $threads"
    # shellcheck disable=SC2086
    case $1 in
        ringtake)
            memory=
            [ "$2" = cold ] || memory='--cache-bytes pinned'
            "$BENCH" vector-search --dataset "$dataset" --column vector $flags --in-flight "$in_flight" \
                --cache "$2" $memory --json "$record" >/dev/null
            ;;
        faiss)
            "$python" "$workspace/faiss/vector_search.py" "$arrays/vectors.npy" $flags \
                --truth "$arrays/nearest.npy" --index "$storages/faiss-$partitions-$sub_vectors.index" \
                --partitions "$partitions" --code-bytes "$sub_vectors" >"$record"
            ;;
        *)
            "$PEER_LANCE" search "$1" --dataset "$dataset" --storages "$storages" $flags \
                --nearest "$arrays/nearest.npy" --partitions "$partitions" --sub-vectors "$sub_vectors" \
                --in-flight "$in_flight" --cache "$2" --json "$record"
            ;;
    esac || {
        rm -f "$record"
        echo "search-peers: $1 gave no record" >&2
    }
}

round=1
set --
while [ "$round" -le "$rounds" ]; do
    for kind in $kinds; do
        for probes in $nprobes; do
            for subject in ringtake $peers; do
                [ "$kind.$subject" != cold.faiss ] || continue
                run "$subject" "$kind" "$probes" "$round"
                # In the order of the runs.
                [ ! -f "$record" ] || set -- "$@" "$record"
            done
        done
    done
    round=$((round + 1))
done
[ $# -gt 0 ] || fail "no run gave a record"
"$tables" search-table "$@"
