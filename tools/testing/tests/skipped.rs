//! Output of a run of tests about those that were skipped.

use std::process::Command;

use ringtake_testing::skip;

/// Runs in a process that the other test starts.
#[test]
#[ignore = "skips itself for the other test to see"]
fn a_test_that_skips_itself() {
    skip("a_test_that_skips_itself", "there is no such machine");
}

#[test]
fn a_skipped_test_is_named_past_the_harness_and_counted_at_the_end() {
    let this = std::env::current_exe().expect("this program has a path");
    let output = Command::new(this)
        .args(["--include-ignored", "--exact", "a_test_that_skips_itself"])
        .output()
        .expect("this program runs");
    assert!(output.status.success());
    let shown = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        shown,
        "SKIPPED a_test_that_skips_itself: there is no such machine\nskipped in this process: 1\n"
    );
}
