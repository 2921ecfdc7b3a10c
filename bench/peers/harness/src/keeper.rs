//! A process beside a measured one that does one thing again and again: its CPU time is not the
//! peer's.

use std::ffi::OsString;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::{Error, Result};

/// The process; it ends with this value.
#[derive(Debug)]
pub(crate) struct Keeper(Child);

impl Keeper {
    /// Starts this program again with `arguments`, a command that calls [`keep`].
    pub(crate) fn start(arguments: impl IntoIterator<Item = OsString>) -> Result<Keeper> {
        let program = std::env::current_exe().map_err(Error::io("find", "this program"))?;
        Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .map(Keeper)
            .map_err(Error::io("start", program))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Does `once`, rests for `rest`, and so on until standard input ends.
pub(crate) fn keep(rest: Duration, mut once: impl FnMut() -> Result<()>) -> Result<()> {
    let parent = std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
    });
    while !parent.is_finished() {
        once()?;
        std::thread::sleep(rest);
    }
    Ok(())
}
