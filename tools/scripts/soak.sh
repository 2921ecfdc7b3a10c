#!/usr/bin/env bash
# Keeps a store under load: everything at once for SECONDS, then twice what it can serve for a sixth
# of that, at least two minutes.
#
# usage: tools/scripts/soak.sh [SECONDS]
#
# An hour by default; `soak.sh 300` is the form for every night. Ends with 1 if an answer is wrong,
# or memory, descriptors or latency do not stay what they are.
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
