#!/usr/bin/env bash
# Runs the tests against a seeded sample of small faults in the files that map rows to bytes. Needs
# cargo-mutants (`cargo install cargo-mutants --locked`).
#
# usage: tools/scripts/cargo-mutants.sh storage|runtime [SEED [COUNT]]
#
# Storage's mutants meet storage's tests first; the survivors meet the runtime's. Prints the counts and
# the survivors. Ends with 1 if one survives that tools/scripts/cargo-mutants.accepted does not name.
# CARGO_TARGET_DIR may name a place for the build (some gigabytes). MUTANT_SECONDS_MAX bounds a run of
# the tests.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
crate=${1:?storage or runtime}
seed=${2:-1}
count=${3:-60}
seconds_max=${MUTANT_SECONDS_MAX:-900}
accepted=tools/scripts/cargo-mutants.accepted

# A folder stands for every file in it.
case $crate in
storage)
    places=(layout.rs layout dataset.rs plan.rs projection.rs assemble.rs write.rs write)
    tests=(storage runtime)
    ;;
runtime)
    places=(shard/engine.rs shard/engine memory/outputs.rs memory/results.rs memory/decode.rs
        client/take.rs client/take admission.rs admission shard/cache.rs shard/cache shard/part.rs
        shard/part client/search.rs index)
    tests=(runtime)
    ;;
*)
    echo "no list of files for $crate" >&2
    exit 2
    ;;
esac
# The fault injector of the tests is not under test.
files=(--exclude storage/src/write/faulty.rs)
for place in "${places[@]}"; do
    path=$crate/src/$place
    if [ -d "$path" ]; then
        files+=(--file "$path/**")
    elif [ -f "$path" ]; then
        files+=(--file "$path")
    else
        echo "$path is missing: bring the list in $0 up to date" >&2
        exit 2
    fi
done

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
list() { cargo mutants --list --package "ringtake-$crate" "${files[@]}" "$@" | sort; }
list >"$out/all"
# No expression leaves these out (version 27), so they belong to every sample.
list --re '^$' >"$out/always"
SEED=$seed perl -e '
    srand($ENV{SEED});
    my @all = <STDIN>;
    for my $i (reverse 1 .. $#all) { my $j = int rand($i + 1); @all[$i, $j] = @all[$j, $i] }
    print @all;' < <(comm -23 "$out/all" "$out/always") >"$out/shuffled"
head -n "$count" "$out/shuffled" | cat "$out/always" - >"$out/left"
echo "$crate: $(wc -l <"$out/left") of $(wc -l <"$out/all") mutants, seed $seed"

caught=0
unviable=0
timed_out=0
for package in "${tests[@]}"; do
    [ -s "$out/left" ] || break
    chosen=()
    while IFS= read -r name; do
        chosen+=(--re "^$(perl -pe 's/([.^\$*+?()\[\]{}|\\])/\\$1/g' <<<"$name")\$")
    done <"$out/left"
    # It ends with 2 where mutants survive and with 3 where tests run out of time.
    cargo mutants --package "ringtake-$crate" "${files[@]}" "${chosen[@]}" \
        --test-package "ringtake-$package" --timeout "$seconds_max" --no-shuffle --colors never \
        --output "$out/$package" >"$out/log" 2>&1 || [ $? -le 3 ] || {
        cat "$out/log" >&2
        exit 2
    }
    of_sample() { grep -xFf "$out/left" "$out/$package/mutants.out/$1.txt" || true; }
    lines() { of_sample "$1" | wc -l; }
    caught=$((caught + $(lines caught)))
    unviable=$((unviable + $(lines unviable)))
    timed_out=$((timed_out + $(lines timeout)))
    of_sample missed >"$out/survivors"
    mv "$out/survivors" "$out/left"
done

survivors=0
reasoned=0
while IFS= read -r name; do
    # A mutant is known by its file, the change and the line as it reads, not by its number.
    IFS=: read -r path line _ change <<<"$name"
    key="$path:$change | $(sed -n "${line}{s/^ *//;p}" "$path")"
    if grep -qxF -- "$key" "$accepted"; then
        reasoned=$((reasoned + 1))
    else
        survivors=$((survivors + 1))
        echo "MISSED $key"
    fi
done <"$out/left"
echo "$caught caught, $survivors missed, $reasoned accepted, $unviable unviable, $timed_out out of time"
[ "$survivors" -eq 0 ]
