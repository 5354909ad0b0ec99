//! The `tcforge` program.
fn main() {}
