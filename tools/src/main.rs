//! The `ringtake` command. Everything is in the library, where fuzzers find it too.

fn main() -> std::process::ExitCode {
    ringtake_tools::main()
}
