//! A guard around the readers of other crates: if a damaged file makes a reader panic, the panic
//! becomes an error.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{RowSource, SourceError};

thread_local! {
    /// Whether this thread is inside the guard. There the output of a panic would only repeat the
    /// error.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// A source whose panics are errors.
pub(super) struct Guarded {
    origin: String,
    format: &'static str,
    schema: SchemaRef,
    rows: Option<u64>,
    /// None after a panic, because the state of the reader is unknown then.
    source: Option<Box<dyn RowSource>>,
}

impl Guarded {
    /// Opens a source inside the guard.
    pub(super) fn open(
        origin: String,
        format: &'static str,
        open: impl FnOnce() -> Result<Box<dyn RowSource>, SourceError>,
    ) -> Result<Guarded, SourceError> {
        let source = fenced(open).unwrap_or_else(|reason| {
            Err(SourceError::ReaderFailed {
                origin: origin.clone(),
                format,
                reason,
            })
        })?;
        Ok(Guarded {
            origin,
            format,
            schema: source.schema(),
            rows: source.rows(),
            source: Some(source),
        })
    }
}

impl RowSource for Guarded {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    fn rows(&self) -> Option<u64> {
        self.rows
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let Some(source) = &mut self.source else {
            return Ok(None);
        };
        fenced(|| source.next_batch()).unwrap_or_else(|reason| {
            // Dropping what panicked could panic again; a leak ends with the process.
            std::mem::forget(self.source.take());
            Err(SourceError::ReaderFailed {
                origin: self.origin.clone(),
                format: self.format,
                reason,
            })
        })
    }
}

/// Runs `work` and returns the message of a panic as an error.
fn fenced<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                shown(panic);
            }
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    outcome.map_err(|payload| message(payload.as_ref()))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given");
    // One line: assertions print their operands below.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_reader_is_an_error_that_names_the_file() {
        let opened = Guarded::open("x.parquet".to_owned(), "Parquet", || panic!("no\nway"));
        let text = opened.err().unwrap().to_string();
        assert!(
            text.contains("x.parquet") && text.contains("no way"),
            "{text}"
        );
    }

    #[test]
    fn a_source_that_panicked_is_not_asked_again() {
        struct Bomb(SchemaRef);
        impl RowSource for Bomb {
            fn schema(&self) -> SchemaRef {
                self.0.clone()
            }
            fn rows(&self) -> Option<u64> {
                None
            }
            fn next_batch(&mut self) -> Result<Option<RecordBatch>, SourceError> {
                panic!("boom")
            }
        }
        let schema = SchemaRef::new(arrow::datatypes::Schema::empty());
        let mut guarded =
            Guarded::open("x".to_owned(), "Parquet", || Ok(Box::new(Bomb(schema)))).unwrap();
        assert!(guarded.next_batch().is_err());
        assert!(guarded.next_batch().unwrap().is_none());
    }
}
