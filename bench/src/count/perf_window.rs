//! Tells perf, which started this process, when the measured window begins and ends.
//!
//! One for the whole process, as perf's control is: `perf record --control` (perf-record(1)) reads
//! `enable` and `disable` from one FIFO and answers in another.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::Error;

struct Control {
    to_perf: File,
    from_perf: BufReader<File>,
}

static CONTROL: OnceLock<Mutex<Control>> = OnceLock::new();

/// From now on perf is told through these: where it listens, and where it answers.
pub(crate) fn open(fifos: &[PathBuf]) -> Result<(), Error> {
    let [commands, answers] = fifos else {
        unreachable!("the command line asks for two");
    };
    let to_perf = OpenOptions::new().write(true).open(commands);
    let to_perf = to_perf.map_err(Error::io("write to", commands))?;
    let from_perf = File::open(answers).map_err(Error::io("read", answers))?;
    let _ = CONTROL.set(Mutex::new(Control {
        to_perf,
        from_perf: BufReader::new(from_perf),
    }));
    Ok(())
}

/// The measured window begins.
pub(crate) fn begin() {
    tell("enable");
}

/// It ends.
pub(crate) fn end() {
    tell("disable");
}

/// A perf that has gone away is no reason to stop measuring.
fn tell(command: &str) {
    let Some(control) = CONTROL.get() else {
        return;
    };
    let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
    if writeln!(control.to_perf, "{command}").is_ok() {
        let mut answer = String::new();
        let _ = control.from_perf.read_line(&mut answer);
    }
}
