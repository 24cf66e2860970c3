//! The specification's own tests.
fn main() {}
