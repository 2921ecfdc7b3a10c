//! Every way to read Lance returns the rows that Ringtake returns.

use ringtake_peers_harness::testing::every_peer_returns_the_rows_of_ringtake;

#[test]
fn lance_returns_the_rows_of_ringtake_through_every_reader() {
    every_peer_returns_the_rows_of_ringtake(
        env!("CARGO_BIN_EXE_peer-lance"),
        env!("CARGO_TARGET_TMPDIR"),
    );
}
