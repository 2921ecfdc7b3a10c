#!/usr/bin/env bash
# Runs the tests that drop takes, futures and stores with reads in flight under sanitizers, which
# detect use after free, leaks and data races.
#
# usage: tools/scripts/sanitizers.sh [address] [thread]
#
# Both by default. Needs a nightly toolchain, and for `thread` its component rust-src, because the
# standard library must be built with the sanitizer too. CARGO_TARGET_DIR may name the build
# directory (some gigabytes). Exits with 1 if a sanitizer finds something.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/sanitizers}
export RINGTAKE_SEEDS=${RINGTAKE_SEEDS:-300}
toolchain=${RINGTAKE_NIGHTLY:-nightly}
host=$(rustc "+$toolchain" --print host-tuple)
failed=0

# Each of these drops something with reads in flight, or reuses its memory afterwards.
tests=(futures:: buffers:: local:: shards:: replaced:: damage:: promises:: reads::)

# under SANITIZER CARGO_FLAG...
under() {
    local sanitizer=$1
    shift
    echo "== $sanitizer sanitizer"
    export RUSTFLAGS="-Zsanitizer=$sanitizer"
    cargo "+$toolchain" test --locked "$@" --target "$host" -p ringtake-runtime --lib || failed=1
    for _ in 1 2 3; do
        cargo "+$toolchain" test --locked "$@" --target "$host" -p ringtake-runtime \
            --test runtime -- "${tests[@]}" || failed=1
    done
}

[ $# -gt 0 ] || set -- address thread
for sanitizer; do
    case $sanitizer in
        address) under address ;;
        # It sees writes by threads, not writes by the kernel.
        thread) under thread -Zbuild-std ;;
        *)
            echo "unknown sanitizer $sanitizer: use address or thread" >&2
            exit 2
            ;;
    esac
done
[ "$failed" -eq 0 ] && echo "nothing found"
exit "$failed"
