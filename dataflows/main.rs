//! The command `tidegate`.

/// Workers hand blocks to one another all the time; glibc's arenas give their pages back in between.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
