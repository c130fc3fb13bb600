//! The `store-master` program.

fn main() {}
