//! Light peers.
fn main() {}
