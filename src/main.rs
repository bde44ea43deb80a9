//! Transom: parse, dispatch.

fn main() {}
