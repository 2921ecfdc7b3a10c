#!/usr/bin/env bash
# Runs the tests that break things on purpose, and prints their counts.
#
# usage: tools/scripts/reliability.sh [FUZZ_SECONDS]
#
# With FUZZ_SECONDS each fuzz target runs for that time (needs a nightly toolchain and cargo-fuzz).
# RINGTAKE_SEEDS and RINGTAKE_SOAK_SECONDS make the simulation and the soak longer. Exits with 1 if
# a test fails.
set -euo pipefail
cd "$(dirname "$0")/../.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

# counts TITLE PATTERN TEST...: runs a test and prints its lines that match PATTERN.
counts() {
    local what=$1 pattern=$2
    shift 2
    echo "== $what"
    if cargo test --quiet --locked "$@" -- --nocapture >"$log" 2>&1; then
        grep -E "$pattern" "$log" || { echo "the test printed no count"; failed=1; }
    else
        tail -20 "$log"
        failed=1
    fi
}

counts "simulated stores" '[0-9]+ seeds:|faults injected' -p ringtake-runtime --lib simulation
counts "imports stopped at each operation" 'crashes survived' -p ringtake-storage --test storage crash
counts "imports killed" 'kills:' -p ringtake-tools --test cli an_import_killed
counts "corruptions" 'corruptions made' -p ringtake-runtime --test runtime corruption
counts "hard places" '^not tested here|^test result' -p ringtake-runtime --test runtime hard_places
counts "soak" 'takes and .* searches right' -p ringtake-runtime --test soak
if [ $# -gt 0 ]; then
    echo "== fuzzed inputs"
    tools/fuzz/run.sh "$1" || failed=1
fi
[ "$failed" -eq 0 ] && echo "nothing failed"
exit "$failed"
