//! Every peer of the light program returns the rows that Ringtake returns.

use ringtake_peers_harness::testing::every_peer_returns_the_rows_of_ringtake;

#[test]
fn light_peers_return_the_rows_of_ringtake() {
    every_peer_returns_the_rows_of_ringtake(
        env!("CARGO_BIN_EXE_peers"),
        env!("CARGO_TARGET_TMPDIR"),
    );
}
