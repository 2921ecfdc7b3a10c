//! Tools
fn main() {}
