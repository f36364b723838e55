//! The `weighbridge` program.

use std::process::ExitCode;

/// With the system's allocator a review costs a sixth more, and with others that were tried a verification takes more
/// memory; figures stand in `benches/README.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    weighbridge::cli::main()
}
