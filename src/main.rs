//! The binary: hands the arguments to the command line and its exit code to the system. Nothing else is here.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    weightroom::cli::main()
}
