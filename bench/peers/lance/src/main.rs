//! Lance beside Ringtake.
fn main() {}
