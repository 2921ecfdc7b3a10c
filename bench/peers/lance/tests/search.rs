//! Every way to read Lance finds the true nearest rows when it looks at all of them.

use ringtake_peers_harness::testing::every_peer_finds_the_nearest_rows;

#[test]
fn lance_finds_the_nearest_rows_through_every_reader() {
    every_peer_finds_the_nearest_rows(
        env!("CARGO_BIN_EXE_peer-lance"),
        env!("CARGO_TARGET_TMPDIR"),
    );
}
