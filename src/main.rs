//! The `weighbridge` program.
fn main() {}
