//! The `ringtake` command. Its code is in the library, which fuzzers use too.

fn main() -> std::process::ExitCode {
    ringtake_tools::main()
}
