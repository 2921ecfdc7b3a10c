//! The readers of foreign files behind one function, for fuzzers.

use super::element::Element;
use super::fbin::Fbin;
use super::input::Input;
use super::npy::Npy;
use super::vecs::Vecs;
use super::{RowSource, SourceError};

/// A reader that is fuzzed.
pub(crate) enum FuzzedFormat {
    Npy,
    Fvecs,
    Fbin,
}

/// Reads `bytes` to their end or to the first error.
pub(crate) fn fuzz(format: FuzzedFormat, bytes: &[u8], length_known: bool) {
    let reader = Box::new(std::io::Cursor::new(bytes.to_vec()));
    let total = length_known.then_some(bytes.len() as u64);
    let input = Input::from_reader("bytes".to_owned(), reader, total);
    let element = Element::Float32;
    let opened: Result<Box<dyn RowSource>, SourceError> = match format {
        FuzzedFormat::Npy => Npy::open(input, None).map(|source| Box::new(source) as _),
        FuzzedFormat::Fvecs => {
            Vecs::open(input, element, "vector").map(|source| Box::new(source) as _)
        }
        FuzzedFormat::Fbin => {
            Fbin::open(input, element, "vector").map(|source| Box::new(source) as _)
        }
    };
    let Ok(mut source) = opened else {
        return;
    };
    let mut rows = 0;
    while let Ok(Some(batch)) = source.next_batch() {
        assert!(batch.num_rows() > 0, "an empty batch would never end");
        rows += batch.num_rows() as u64;
        assert!(rows <= bytes.len() as u64, "more rows than bytes");
    }
}
