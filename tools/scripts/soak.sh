#!/usr/bin/env bash
# Keeps a store under load: every kind of work at once for SECONDS, then twice its capacity for a
# sixth of that, at least two minutes.
#
# usage: tools/scripts/soak.sh [SECONDS]
#
# An hour by default; `soak.sh 300` suits a nightly run. Exits with 1 if an answer is wrong, or if
# memory, descriptors or latency grow.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-3600}
overload=$((seconds / 6))
[ "$overload" -ge 120 ] || overload=120
soak() {
    RINGTAKE_SOAK_SECONDS=$2 cargo test --quiet --locked -p ringtake-runtime --test soak "$1" -- --nocapture
}
soak mixed:: "$seconds"
soak overload:: "$overload"
