//! `.npy` files: their header, and arrays of vectors small enough for memory. The format is that of
//! NumPy's `numpy.lib.format`.

mod header;

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, Write};
use std::path::{Path, PathBuf};

use half::f16;

pub use header::{Descr, Header};

/// Bytes of magic and version.
const MAGIC_BYTES: usize = 8;
/// Largest header in bytes, far above real ones: it bounds the memory that a damaged length takes.
const HEADER_BYTES_MAX: usize = 1 << 16;

/// Reads magic, version, length and header. `read` fills a slice or fails; its second argument
/// names the part of the file. `malformed` makes an error of a reason.
///
/// # Errors
/// Errors of `read` and `malformed`.
pub fn read_header<E>(
    mut read: impl FnMut(&mut [u8], &'static str) -> Result<(), E>,
    malformed: impl Fn(String) -> E,
) -> Result<Header, E> {
    let mut magic = [0; MAGIC_BYTES];
    read(&mut magic, "the magic and the version")?;
    let [m @ .., major, minor] = magic;
    if m != *b"\x93NUMPY" {
        return Err(malformed("it does not begin with the npy magic".to_owned()));
    }
    let length = match major {
        1 => {
            let mut length = [0; 2];
            read(&mut length, "the length of the header")?;
            usize::from(u16::from_le_bytes(length))
        }
        2 | 3 => {
            let mut length = [0; 4];
            read(&mut length, "the length of the header")?;
            u32::from_le_bytes(length) as usize
        }
        _ => {
            return Err(malformed(format!(
                "its version is {major}.{minor}, versions 1 to 3 can be read"
            )));
        }
    };
    if length > HEADER_BYTES_MAX {
        return Err(malformed(format!(
            "its header claims {length} bytes, at most {HEADER_BYTES_MAX} make sense"
        )));
    }
    let mut text = vec![0; length];
    read(&mut text, "the header")?;
    let text =
        String::from_utf8(text).map_err(|_| malformed("its header is not text".to_owned()))?;
    Header::parse(&text).map_err(malformed)
}

/// Alignment in bytes of the numbers after the header, which is padded for it.
const ALIGNMENT_BYTES: usize = 64;

/// Writes magic, version and header of an array of `rows` times `columns` numbers, one row after
/// another; `descr` is NumPy's name of their type, such as `<f4`.
///
/// # Errors
/// Errors of `out`.
pub fn write_header(
    out: &mut impl Write,
    descr: &str,
    rows: u64,
    columns: u64,
) -> std::io::Result<()> {
    let mut text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let length_bytes = size_of::<u16>();
    // One more is the line's end.
    let bytes = (MAGIC_BYTES + length_bytes + text.len() + 1).next_multiple_of(ALIGNMENT_BYTES);
    let header_bytes = bytes - MAGIC_BYTES - length_bytes;
    text.extend(std::iter::repeat_n(' ', header_bytes - text.len() - 1));
    text.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    // A header of two numbers and a name is far shorter than its length field allows.
    out.write_all(&(header_bytes as u16).to_le_bytes())?;
    out.write_all(text.as_bytes())
}

/// Reason why a file could not be read as vectors or row ids.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation failed, or the file ends early.
    #[error("cannot read {part} of `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The part of the file.
        part: &'static str,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The file holds something other than the expected array.
    #[error("`{path}` is not an array of {wanted}: {reason}")]
    Other {
        /// The file.
        path: PathBuf,
        /// The expected array.
        wanted: &'static str,
        /// The difference from it.
        reason: String,
    },
}

/// Vectors of one dimension, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// Dimensions of each vector.
    pub dims: usize,
    /// Elements of all vectors.
    pub numbers: Vec<f32>,
}

/// Lists of row ids, all of one length, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct RowLists {
    /// Ids per list.
    pub length: usize,
    /// Ids of all lists; -1 stands for a missing id.
    pub ids: Vec<i64>,
}

/// Reads a two-dimensional array of floats (`<f2`, `<f4` or `<f8`), rounded to f32.
///
/// # Errors
/// [`Error::Read`]; [`Error::Other`] if the file holds something else.
pub fn read_vectors(path: &Path) -> Result<Vectors, Error> {
    let raw = read_raw(path, "vectors", |descr| match descr {
        "<f2" => Ok(2),
        "<f4" => Ok(4),
        "<f8" => Ok(8),
        other => Err(format!(
            "its numbers are {other} instead of floats; save a.astype(\"float32\")"
        )),
    })?;
    Ok(Vectors {
        dims: raw.columns,
        numbers: match raw.number_bytes {
            2 => numbers(&raw.bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            4 => numbers(&raw.bytes, f32::from_le_bytes),
            _ => numbers(&raw.bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        },
    })
}

/// Reads a two-dimensional array of integers (`<i8`).
///
/// # Errors
/// [`Error::Read`]; [`Error::Other`] if the file holds something else.
pub fn read_row_lists(path: &Path) -> Result<RowLists, Error> {
    let raw = read_raw(path, "row ids", |descr| match descr {
        "<i8" => Ok(8),
        other => Err(format!(
            "its numbers are {other} instead of integers of 64 bits; save a.astype(\"int64\")"
        )),
    })?;
    Ok(RowLists {
        length: raw.columns,
        ids: numbers(&raw.bytes, i64::from_le_bytes),
    })
}

/// The bytes of a two-dimensional array.
struct Raw {
    columns: usize,
    number_bytes: u64,
    bytes: Vec<u8>,
}

/// Reads a two-dimensional array. `width` returns the bytes per number of a type, or the reason why
/// the type is not `wanted`.
fn read_raw(
    path: &Path,
    wanted: &'static str,
    width: impl FnOnce(&str) -> Result<u64, String>,
) -> Result<Raw, Error> {
    let failed = |part| {
        move |source| Error::Read {
            path: path.to_path_buf(),
            part,
            source,
        }
    };
    let other = |reason: String| Error::Other {
        path: path.to_path_buf(),
        wanted,
        reason,
    };
    let file = File::open(path).map_err(failed("the beginning"))?;
    let file_bytes = file.metadata().map_err(failed("the length"))?.len();
    let mut reader = BufReader::new(file);
    let header = read_header(
        |out, part| reader.read_exact(out).map_err(failed(part)),
        other,
    )?;
    let &[rows, columns] = header.shape.as_slice() else {
        let axes = header.shape.len();
        return Err(other(format!("it has {axes} axes instead of two")));
    };
    if header.fortran_order {
        return Err(other(
            "it is in Fortran order; save np.ascontiguousarray(a)".to_owned(),
        ));
    }
    let number_bytes = match &header.descr {
        Descr::Plain(descr) => width(descr),
        Descr::Structured => width("structures"),
    }
    .map_err(other)?;
    let header_bytes = reader.stream_position().map_err(failed("the header"))?;
    let left_bytes = file_bytes.saturating_sub(header_bytes);
    let bytes = rows
        .checked_mul(columns)
        .and_then(|numbers| numbers.checked_mul(number_bytes))
        .filter(|bytes| *bytes <= left_bytes && rows > 0 && columns > 0)
        .ok_or_else(|| {
            other(format!(
                "its header says {rows} rows of {columns} numbers and {left_bytes} bytes follow it"
            ))
        })?;
    let mut content = vec![0; bytes as usize];
    reader
        .read_exact(&mut content)
        .map_err(failed("the content"))?;
    Ok(Raw {
        columns: columns as usize,
        number_bytes,
        bytes: content,
    })
}

fn numbers<const N: usize, T>(raw: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>()
        .0
        .iter()
        .map(|bytes| of(*bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(descr: &str, order: &str, shape: &str, values: &[u8]) -> tempfile::NamedTempFile {
        let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}}}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.bytes());
        bytes.extend(values);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn floats_of_every_width_are_read() {
        let wanted = [1.0_f32, -2.0, 0.5, 4.0, 5.0, 6.5];
        let narrow: Vec<u8> = wanted
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_le_bytes())
            .collect();
        let single: Vec<u8> = wanted.iter().flat_map(|v| v.to_le_bytes()).collect();
        let double: Vec<u8> = wanted
            .iter()
            .flat_map(|value| f64::from(*value).to_le_bytes())
            .collect();
        for (descr, values) in [("<f2", narrow), ("<f4", single), ("<f8", double)] {
            let file = file(descr, "False", "(2, 3)", &values);
            let vectors = read_vectors(file.path()).unwrap();
            assert_eq!((vectors.dims, vectors.numbers.as_slice()), (3, &wanted[..]));
        }
    }

    #[test]
    fn array_that_was_written_is_read_and_begins_where_it_is_aligned() {
        let values = [1.0_f32, -2.0, 0.5, 4.0, 5.0, 6.5];
        let mut bytes = Vec::new();
        write_header(&mut bytes, "<f4", 3, 2).unwrap();
        assert_eq!(bytes.len() % ALIGNMENT_BYTES, 0);
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let vectors = read_vectors(file.path()).unwrap();
        assert_eq!((vectors.dims, vectors.numbers.as_slice()), (2, &values[..]));
    }

    #[test]
    fn row_ids_are_read_and_floats_are_none() {
        let ids = [3_i64, -1, 1 << 40, 7];
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let lists = read_row_lists(file("<i8", "False", "(2, 2)", &bytes).path()).unwrap();
        assert_eq!((lists.length, lists.ids.as_slice()), (2, &ids[..]));
        let floats = file("<f8", "False", "(2, 2)", &bytes);
        let refused = read_row_lists(floats.path()).unwrap_err().to_string();
        assert!(
            refused.contains("array of row ids") && refused.contains("<f8"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_no_array_of_vectors_is_refused_by_name() {
        for (descr, order, shape, values, part) in [
            ("<f4", "False", "(6,)", 24, "1 axes"),
            ("<f4", "True", "(2, 3)", 24, "Fortran"),
            ("<i4", "False", "(2, 3)", 24, "floats"),
            ("<f4", "False", "(2, 3)", 8, "8 bytes follow"),
            ("<f4", "False", "(0, 3)", 0, "0 rows"),
            ("<f4", "False", "(99999999999, 99999999999)", 8, "rows"),
        ] {
            let file = file(descr, order, shape, &vec![0; values]);
            let refused = read_vectors(file.path()).unwrap_err().to_string();
            assert!(refused.contains(part), "{refused}");
            assert!(refused.contains(file.path().to_str().unwrap()), "{refused}");
        }
        let missing = read_vectors(Path::new("/nowhere/q.npy")).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/q.npy"));
    }
}
