#!/usr/bin/env bash
# Runs tests of unsafe code under Miri, which tells undefined behaviour: memory lent to results and
# to drives, and the kernels without instruction sets of their own.
#
# usage: tools/scripts/miri.sh
#
# Needs a nightly toolchain with the components miri and rust-src; RINGTAKE_NIGHTLY names another than
# `nightly`. Minutes, most of them for building. Ends with 1 if anything is found, with 3 where there
# is no Miri.
set -euo pipefail
cd "$(dirname "$0")/../.."
toolchain=${RINGTAKE_NIGHTLY:-nightly}
if ! cargo "+$toolchain" miri --version >/dev/null 2>&1; then
    echo "there is no Miri: rustup component add miri rust-src --toolchain $toolchain" >&2
    exit 3
fi
# Files are real, and random cases few.
export MIRIFLAGS=${MIRIFLAGS:--Zmiri-disable-isolation}
export PROPTEST_CASES=${PROPTEST_CASES:-2}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/miri}
miri() {
    cargo "+$toolchain" miri test --locked "$@"
}
# Scans of whole blocks of codes would take an interpreter many minutes.
miri -p ringtake-storage --lib -- kernels::tests::distances_ kernels::tests::every_half_
miri -p ringtake-runtime --lib -- arena:: results:: admission::ledger:: estimate::
