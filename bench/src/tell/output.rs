//! Where results go: text on standard output, JSON in a file.

use std::path::Path;

use crate::error::Error;

/// Writes JSON to `path`; `-` is standard output.
pub fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| Error::Io {
        operation: "encode the record for",
        path: path.to_path_buf(),
        source: error.into(),
    })?;
    text.push('\n');
    if goes_to_stdout(path) {
        print(&text)
    } else {
        std::fs::write(path, text).map_err(Error::io("write", path))
    }
}

/// Prints `text`, and writes `value` as JSON if a place is given; the text makes way where that is
/// standard output.
pub(crate) fn emit<T: serde::Serialize>(
    json: Option<&Path>,
    text: &str,
    value: &T,
) -> Result<(), Error> {
    match json {
        Some(path) if goes_to_stdout(path) => eprint!("{text}"),
        _ => print(text)?,
    }
    json.map_or(Ok(()), |path| write_json(path, value))
}

/// Whether `path` stands for standard output.
pub(crate) fn goes_to_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Writes to standard output; a reader that has gone away is no error.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", "standard output")(error))
        }
        _ => Ok(()),
    }
}
