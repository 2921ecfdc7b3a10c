#!/bin/sh
# Measures Ringtake and the peers in bench/peers in turn, and prints one table.
#
#   peers.sh DATASET [--seconds S] [--rounds N] [--kinds KIND,KIND] [--peers NAME,NAME] [--threads T] [--in-flight C] [--memory SIZE] [--distribution D] [--storages DIR] [--records DIR]
#
# Each run is a process of its own; a round runs every subject once, in turn, for each kind of
# run: cold.500, warm.500, warm.1 and mixed.500, where the number is the rows per query. The rows of DATASET are
# converted for the peers into DIR (default: beside it, DATASET.peers), which is kept for the
# next run. A run that is not proven cold, warm or mixed is counted in the table and not averaged.
#
# In a mixed run the popularity of rows is D (default: zipf:0.99) and every subject has the same
# memory for them: SIZE, in bytes or such as 800MiB (default: enough for 90 of 100 accesses to hit).
# It is the store's cache, RocksDB's block cache beside direct reads, and for the others the page
# cache, limited by a memory control group, which only root can make. Without one they are left out.
#
# Lance takes half an hour or more to build and needs protobuf-compiler, RocksDB needs libclang;
# a program that is not built yet is built only if a peer of it is named. BENCH,
# PEERS and PEER_LANCE may name the programs.
set -eu

usage() {
    sed -n '4s/^#   /usage: /p' "$0" >&2
    exit 2
}

fail() {
    echo "peers: $1" >&2
    exit 1
}

light='mmap pread lmdb rocksdb parquet-sync parquet-async'
lance='lance-file lance-uring lance-uring-current-thread'
peers="$light $lance"
kinds='cold.500 warm.500 warm.1 mixed.500'
seconds=10
rounds=5
threads=2
in_flight=4
memory=
distribution=zipf:0.99
storages=
records=
[ $# -ge 1 ] || usage
case $1 in -*) usage ;; esac
dataset=${1%/}
shift
while [ $# -gt 0 ]; do
    case $1 in
        --seconds) seconds=${2:-} ;;
        --rounds) rounds=${2:-} ;;
        --threads) threads=${2:-} ;;
        --in-flight) in_flight=${2:-} ;;
        --peers) peers=$(echo "${2:-}" | tr , ' ') ;;
        --kinds) kinds=$(echo "${2:-}" | tr , ' ') ;;
        --memory) memory=${2:-} ;;
        --distribution) distribution=${2:-} ;;
        --storages) storages=${2:-} ;;
        --records) records=${2:-} ;;
        *) usage ;;
    esac
    shift 2 || usage
done
for number in "$seconds" "$rounds" "$threads" "$in_flight"; do
    case $number in *[!0-9]* | '' | 0) usage ;; esac
done
for kind in $kinds; do
    case $kind in
        cold.?* | warm.?* | mixed.?*) case ${kind#*.} in *[!0-9]* | 0*) usage ;; esac ;;
        *) usage ;;
    esac
done
[ -f "$dataset/MANIFEST" ] || fail "'$dataset' is not a dataset"
storages=${storages:-$dataset.peers}

# Whether the list $1 holds a word of the list $2.
any_of() {
    for word in $1; do
        case " $2 " in *" $word "*) return 0 ;; esac
    done
    return 1
}
for peer in $peers; do
    any_of "$peer" "$light $lance" || fail "'$peer' is not a peer; the peers are $light $lance"
done

root=$(cd "$(dirname "$0")/../.." && pwd)
workspace=$root/bench/peers
if [ -z "${BENCH:-}" ]; then
    cargo build --quiet --release --bin bench --manifest-path "$root/Cargo.toml"
    BENCH=${CARGO_TARGET_DIR:-$root/target}/release/bench
fi
if [ -z "${PEERS:-}" ]; then
    features=
    any_of rocksdb "$peers" && features='--features rocksdb'
    # shellcheck disable=SC2086
    cargo build --quiet --release -p ringtake-peers $features --manifest-path "$workspace/Cargo.toml"
    PEERS=${CARGO_TARGET_DIR:-$workspace/target}/release/peers
fi
if [ -z "${PEER_LANCE:-}" ] && any_of "$lance" "$peers"; then
    cargo build --quiet --release -p ringtake-peer-lance --manifest-path "$workspace/Cargo.toml"
    PEER_LANCE=${CARGO_TARGET_DIR:-$workspace/target}/release/peer-lance
fi

any_of "$light" "$peers" && "$PEERS" prepare --dataset "$dataset" --storages "$storages"
any_of "$lance" "$peers" && "$PEER_LANCE" prepare --dataset "$dataset" --storages "$storages"
# Otherwise the kernel would write back new files during a run.
sync

# The directory of the memory controller, of either version, in which groups can be made.
memory_controller() {
    [ "$(id -u)" = 0 ] || return 1
    root_group=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ { print $2; exit }' /proc/mounts)
    if [ -z "$root_group" ]; then
        root_group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
        [ -n "$root_group" ] || return 1
        grep -qw memory "$root_group/cgroup.subtree_control" 2>/dev/null ||
            echo +memory 2>/dev/null >"$root_group/cgroup.subtree_control" || return 1
    fi
    echo "$root_group"
}

# Whether subject $1 keeps rows in the page cache.
in_page_cache() {
    case $1 in ringtake* | rocksdb) return 1 ;; esac
}

controller=
group=
left_out=
case " $kinds" in
    *" mixed."*)
        if [ -z "$memory" ]; then
            memory=$("${PEERS:-$PEER_LANCE}" memory --dataset "$dataset" --distribution "$distribution")
        fi
        echo "peers: mixed runs have $memory of memory for rows ($distribution)" >&2
        controller=$(memory_controller) || controller=
        if [ -n "$controller" ]; then
            group=$controller/ringtake-peers.$$
        else
            for peer in $peers; do
                if in_page_cache "$peer"; then left_out="$left_out $peer"; fi
            done
            [ -z "$left_out" ] ||
                echo "peers: mixed runs of$left_out are left out, since their page cache cannot be limited; run this as root where a memory controller of control groups is mounted, of version 1, or of version 2 with 'memory' in cgroup.subtree_control" >&2
        fi
        ;;
esac

# Ends the group of a mixed run, if there is one.
end_group() {
    [ -z "$group" ] || [ ! -d "$group" ] || rmdir "$group" ||
        echo "peers: $group cannot be removed; a process may be left in it" >&2
}

end() {
    end_group
    [ -z "$made_records" ] || rm -rf "$made_records"
}
made_records=
trap end EXIT
trap 'exit 130' INT TERM
if [ -z "$records" ]; then
    records=$(mktemp -d)
    made_records=$records
else
    mkdir -p "$records"
fi

# The store's subjects for kind $1: if rows are in memory, also one with all of them pinned.
subjects() {
    case $1 in
        warm.*) echo 'ringtake ringtake-pinned' ;;
        *) echo ringtake ;;
    esac
}

# Runs the command given, in a control group of its own if subject $1 keeps rows in the page cache
# and the run, of kind $2, is mixed.
within_memory() {
    case $2 in mixed.*) in_page_cache "$1" || group_of_run= ;; *) group_of_run= ;; esac
    shift 2
    if [ -z "$group_of_run" ]; then
        "$@"
        return
    fi
    mkdir "$group_of_run"
    (
        sh -c 'echo $PPID' >"$group_of_run/cgroup.procs"
        exec "$@" --memory-group "$group_of_run"
    ) && ended=0 || ended=$?
    end_group
    return "$ended"
}

# One run of subject $1, of kind $2, in round $3.
run() {
    case " $left_out " in *" $1 "*) case $2 in mixed.*) return ;; esac ;; esac
    flags="--dataset $dataset --cache ${2%.*} --seconds $seconds --threads $threads --in-flight $in_flight --rows-per-query ${2#*.} --seed 1"
    memory_flag=--memory
    case $1 in ringtake*) memory_flag=--cache-bytes ;; esac
    case $2 in mixed.*) flags="$flags --distribution $distribution $memory_flag $memory" ;; esac
    group_of_run=$group
    record=$records/$3.$2.$1.json
    # A record of an earlier call must not count for this one.
    rm -f "$record"
    echo "round $3: $1, $2" >&2
    # shellcheck disable=SC2086
    case " $lance " in
        *" $1 "*) within_memory "$1" "$2" "$PEER_LANCE" run "$1" --storages "$storages" $flags --json "$record" ;;
        *) case $1 in
            ringtake) "$BENCH" file-read $flags --json "$record" >/dev/null ;;
            ringtake-pinned) "$BENCH" file-read $flags --cache-bytes pinned --json "$record" >/dev/null ;;
            *) within_memory "$1" "$2" "$PEERS" run "$1" --storages "$storages" $flags --json "$record" ;;
        esac ;;
    esac || echo "peers: $1 gave no record" >&2
}

round=1
while [ "$round" -le "$rounds" ]; do
    for kind in $kinds; do
        for subject in $(subjects "$kind") $peers; do
            run "$subject" "$kind" "$round"
        done
    done
    round=$((round + 1))
done

# In the order of the runs.
set --
round=1
while [ "$round" -le "$rounds" ]; do
    for kind in $kinds; do
        for subject in $(subjects "$kind") $peers; do
            record=$records/$round.$kind.$subject.json
            [ -f "$record" ] && set -- "$@" "$record"
        done
    done
    round=$((round + 1))
done
[ $# -gt 0 ] || fail "no run gave a record"
"${PEERS:-$PEER_LANCE}" table "$@"
