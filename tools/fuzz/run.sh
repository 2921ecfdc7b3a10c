#!/usr/bin/env bash
# Fuzzes every reader of files for SECONDS each, starting from the inputs in corpus/.
#
# usage: tools/fuzz/run.sh [SECONDS] [TARGET...]
#
# Needs a nightly toolchain and cargo-fuzz (`cargo install cargo-fuzz --locked`). Exits with 1 if an
# input breaks something; artifacts/ then holds it.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' Cargo.toml)
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz is missing; install it with: cargo install cargo-fuzz --locked" >&2
    exit 2
fi
cargo +nightly fuzz build
inputs=0
found=0
for target in "${targets[@]}"; do
    # New inputs go to a directory of their own, so that corpus/ stays small.
    grown=$(mktemp -d)
    log=$grown.log
    if cargo +nightly fuzz run "$target" "$grown" "corpus/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=512 -print_final_stats=1 >"$log" 2>&1
    then
        result="nothing found"
    else
        result="FOUND something: tools/fuzz/artifacts/$target"
        found=1
        tail -30 "$log"
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    inputs=$((inputs + ${runs:-0}))
    printf '%-10s %12s inputs in %s s: %s\n' "$target" "${runs:-0}" "$seconds" "$result"
    rm -rf "$grown" "$log"
done
echo "$inputs inputs in total"
exit "$found"
