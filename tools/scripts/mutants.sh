#!/usr/bin/env bash
# Builds faults into a copy of the code, one at a time, and runs the test that must catch each.
#
# usage: tools/scripts/mutants.sh
#
# Exits with 1 if a fault escapes, or no longer applies to the code. CARGO_TARGET_DIR may name the
# build directory (some gigabytes); by default it is removed with the copy.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
copy=$place/code
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$place/target}
mkdir "$copy"
tar -C "$root" --exclude=./target --exclude=./.git --exclude='*/fuzz/target' -cf - . | tar -C "$copy" -xf -
cd "$copy"

caught=0
escaped=0

# mutant NAME FILE FROM TO TEST...: FROM must be in FILE once.
mutant() {
    local name=$1 file=$2 from=$3 to=$4
    shift 4
    cp "$file" "$place/before"
    FROM=$from TO=$to perl -0pi -e '
        my ($from, $to) = @ENV{qw(FROM TO)};
        my $places = () = /\Q$from\E/g;
        die "$ARGV: the code to change is there $places times\n" if $places != 1;
        s/\Q$from\E/$to/;
    ' "$file"
    if timeout 900 cargo test --quiet --locked "$@" >"$place/log" 2>&1; then
        echo "ESCAPED  $name: cargo test $*"
        escaped=$((escaped + 1))
    elif grep -q 'error: could not compile' "$place/log"; then
        echo "BROKEN   $name does not compile"
        grep -m3 '^error' "$place/log"
        escaped=$((escaped + 1))
    else
        echo "caught   $name: cargo test $*"
        caught=$((caught + 1))
    fi
    cp "$place/before" "$file"
    # Cargo compares modification times.
    touch "$file"
}

mutant "a checksum that is not compared" runtime/src/shard/engine/deliver.rs \
    'let right = locator.matches(row, stored);' \
    'let right = locator.matches(row, stored) || true;' \
    -p ringtake-runtime --lib simulation::tests::every_answer
mutant "the doorbell without its fence" runtime/src/doorbell/protocol.rs \
    'self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);' \
    'self.asleep.store(true, Ordering::Relaxed);' \
    -p ringtake-runtime --test doorbell_model
mutant "a slot that is free while a read is writing it" runtime/src/shard/engine/flights.rs \
    'let popped = self.large_free.pop();' \
    'let popped = self.large_free.last().copied();' \
    -p ringtake-runtime --lib simulation::tests::every_answer
mutant "a manifest renamed before it is on disk" storage/src/write/directory.rs \
    'file.append(bytes).map_err(Error::io("write", path))?;
        file.sync().map_err(Error::io("sync", path))' \
    'file.append(bytes).map_err(Error::io("write", path))' \
    -p ringtake-storage --test storage crash
mutant "a take that waits for a silent drive beyond its deadline" runtime/src/shard/engine.rs \
    'self.deadlines
            .end_overdue_waits(now, &mut self.parts, &mut self.scans);' '' \
    -p ringtake-runtime --lib simulation::tests::every_answer
mutant "a search that does not learn that a shard has stopped scanning" runtime/src/index/nearest.rs \
    'if !self.scanned {
            self.query.scanned(self.shard, Vec::new());
        }' '' \
    -p ringtake-runtime --lib simulation::tests::every_answer
mutant "an index whose numbers are not checked" storage/src/vector/index.rs \
    '!numbers.into_iter().all(|x| x.is_finite())' \
    'false && !numbers.into_iter().all(|x| x.is_finite())' \
    -p ringtake-storage --test storage index
mutant "a take that ends before its shards' writes are visible" runtime/src/shard/part/finish.rs \
    'finish.windows_done.fetch_add(1, Ordering::Release);' \
    'finish.windows_done.fetch_add(1, Ordering::Relaxed);' \
    -p ringtake-runtime --test finish_model
mutant "a part that is counted as finished before it releases its memory" runtime/src/shard/part/finish.rs \
    'drop(sink);' \
    'let _later = sink;' \
    -p ringtake-runtime --test finish_model
mutant "a queued search whose deadline is not checked" runtime/src/shard/engine/deadlines.rs \
    'self.to_finish = scans.expire(now);' \
    'self.to_finish = None;' \
    -p ringtake-runtime --test runtime a_search_in_line
mutant "a writer that believes the list of drives in a copy" storage/src/write/directory.rs \
    'self.id.inode == id.inode && (same_device || self.home == home)' \
    'same_device || self.home == home' \
    -p ringtake-storage --test storage writer
mutant "a column read into the result with the columns before it" runtime/src/memory/outputs.rs \
    '} if *width_bytes == bytes && place < *rows => {' \
    '} if place < *rows => {' \
    -p ringtake-runtime --test runtime a_column_that_shares_its_record
mutant "missing rows that show what their memory held before" runtime/src/memory/outputs.rs \
    'std::ptr::write_bytes(values.as_ptr().add(place * width_bytes), 0, *width_bytes)' \
    'values.as_ptr().add(place * width_bytes)' \
    -p ringtake-runtime --test runtime missing_rows_are_zeros
echo "$caught caught, $escaped escaped"
[ "$escaped" -eq 0 ]
