#!/usr/bin/env bash
# Runs tests of unsafe code under Miri, which detects undefined behaviour: memory lent to results and
# to drives, and the portable kernels.
#
# usage: tools/scripts/miri.sh
#
# Needs a nightly toolchain with the components miri and rust-src; RINGTAKE_NIGHTLY may name one, by
# default `nightly`. It takes minutes, most of them for building. Exits with 1 if Miri finds
# something, with 3 if Miri is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
toolchain=${RINGTAKE_NIGHTLY:-nightly}
if ! cargo "+$toolchain" miri --version >/dev/null 2>&1; then
    echo "Miri is missing: rustup component add miri rust-src --toolchain $toolchain" >&2
    exit 3
fi
# Tests use real files, so isolation is off; property tests run few cases.
export MIRIFLAGS=${MIRIFLAGS:--Zmiri-disable-isolation}
export PROPTEST_CASES=${PROPTEST_CASES:-2}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/miri}
miri() {
    cargo "+$toolchain" miri test --locked "$@"
}
# Scanning whole blocks of codes would take an interpreter many minutes.
miri -p ringtake-storage --lib -- kernels::tests::distances_ kernels::tests::every_half_
miri -p ringtake-runtime --lib -- arena:: results:: admission::ledger:: estimate::
