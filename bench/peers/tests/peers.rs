//! Every peer of the light program returns the rows that Ringtake returns.

use std::process::Command;

use ringtake_peers_harness::testing::every_peer_returns_the_rows_of_ringtake;

#[test]
fn light_peers_return_the_rows_of_ringtake() {
    every_peer_returns_the_rows_of_ringtake(
        env!("CARGO_BIN_EXE_peers"),
        env!("CARGO_TARGET_TMPDIR"),
    );
}

#[test]
fn flags_that_do_not_go_together_are_refused_in_one_sentence() {
    let place = ["--dataset", "nowhere", "--storages", "nowhere"];
    for (flags, part) in [
        (&["--cache", "mixed"][..], "--memory SIZE"),
        (&["--cache", "cold", "--memory", "1MiB"], "--memory SIZE"),
        (&["--distribution", "zipf:0.99"], "asks for rows again"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_peers"))
            .args(["run", "pread"])
            .args(place)
            .args(flags)
            .output()
            .expect("the program is built");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{flags:?}: {said}");
        assert!(said.contains(part), "{flags:?}: {said}");
    }
}
