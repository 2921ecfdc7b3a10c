//! The memory a take's rows end up in, written by several shards at once.
//!
//! Soundness rests on one invariant: **each (column, place) is written by one shard only**. A
//! take makes exactly one [`Entry`](ringtake_storage::plan::Entry) per place and hands it to
//! exactly one part (`client/take.rs`), and a part belongs to one shard; or its caller fills every
//! place itself, before any other thread has the outputs (`client/take/in_place.rs`). Everything
//! else — bounds, widths, lifetimes of owned memory — is checked or owned here.

use std::ptr::NonNull;
use std::sync::Arc;

use arrow::buffer::{Buffer, MutableBuffer};
use ringtake_storage::assemble::{ColumnBytes, value_ends, value_offsets};
use ringtake_storage::column::ColumnShape;
use ringtake_storage::dataset::Dataset;
use ringtake_storage::projection::Projection;

use crate::error::{Error, Result};
use crate::host::prefetch;
use crate::memory::results::{Lease, ResultMemory};

/// The outputs of all columns of one take.
#[derive(Debug)]
pub(crate) struct Outputs {
    columns: Vec<OutputColumn>,
    owned: Vec<Owned>,
}

#[derive(Debug)]
enum OutputColumn {
    Fixed {
        values: NonNull<u8>,
        width_bytes: usize,
        rows: usize,
        /// Whether a drive may write into them: they are in the memory for results, which is
        /// kept as long as this value is.
        leased: bool,
    },
    Variable {
        values: NonNull<u8>,
        value_bytes: usize,
        ends: Ends,
        rows: usize,
    },
}

/// Where each value of variable width ends in the output; it begins where the one before ends.
#[derive(Debug)]
enum Ends {
    /// Arrow offsets, the first of them 0.
    I32(NonNull<i32>),
    /// Arrow offsets, the first of them 0.
    I64(NonNull<i64>),
}

impl OutputColumn {
    /// A column in a caller's buffer, or the reason why its values do not fit.
    fn borrow_fixed(
        values: &mut [u8],
        width_bytes: usize,
        rows: usize,
    ) -> std::result::Result<OutputColumn, String> {
        if values.len() != width_bytes * rows {
            return Err(format!(
                "it has {} bytes; {rows} values of {width_bytes} need {}",
                values.len(),
                width_bytes * rows
            ));
        }
        Ok(OutputColumn::Fixed {
            values: NonNull::from(values).cast(),
            width_bytes,
            rows,
            leased: false,
        })
    }

    /// A column in a caller's buffers, which get the offsets at once and room for the values.
    fn borrow_variable(
        dataset: &Dataset,
        column: usize,
        ids: &[u64],
        values: &mut Vec<u8>,
        offsets: &mut Vec<i64>,
    ) -> Result<OutputColumn> {
        offsets.clear();
        offsets.reserve(ids.len() + 1);
        offsets.push(0);
        let group = dataset.columns()[column].group;
        let total =
            value_ends(dataset, column, ids, |end| offsets.push(end as i64)).map_err(|bad| {
                ringtake_storage::Error::damaged(
                    dataset.file_path(group, 0).with_extension("ends"),
                    bad.to_string(),
                )
            })?;
        let value_bytes = total as usize;
        values.clear();
        values.resize(value_bytes, 0);
        Ok(OutputColumn::Variable {
            values: NonNull::from(&mut values[..]).cast(),
            value_bytes,
            ends: Ends::I64(NonNull::from(&mut offsets[..]).cast()),
            rows: ids.len(),
        })
    }
}

#[derive(Debug)]
enum Owned {
    Fixed(Memory),
    Variable { offsets: Buffer, values: Memory },
}

/// Memory of one column's values.
#[derive(Debug)]
struct Memory {
    of: MemoryOf,
    bytes: usize,
}

#[derive(Debug)]
enum MemoryOf {
    Heap(MutableBuffer),
    Results(Lease),
}

impl Memory {
    fn new(results: Option<&Arc<ResultMemory>>, bytes: usize) -> Memory {
        let of = match results.and_then(|results| results.lease(bytes)) {
            Some(lease) => MemoryOf::Results(lease),
            None => MemoryOf::Heap(MutableBuffer::with_capacity(bytes)),
        };
        Memory { of, bytes }
    }

    fn start(&mut self) -> NonNull<u8> {
        match &mut self.of {
            MemoryOf::Heap(buffer) => {
                NonNull::new(buffer.as_mut_ptr()).unwrap_or(NonNull::dangling())
            }
            MemoryOf::Results(lease) => lease.start(),
        }
    }

    fn is_leased(&self) -> bool {
        matches!(self.of, MemoryOf::Results(_))
    }

    /// # Safety
    /// All bytes have been written.
    unsafe fn into_buffer(self) -> Buffer {
        match self.of {
            MemoryOf::Heap(mut buffer) => {
                // SAFETY: `bytes` is the capacity asked for, and all of it has been written.
                unsafe { buffer.set_len(self.bytes) };
                buffer.into()
            }
            // SAFETY: the lease has room for `bytes` bytes, keeps them for as long as it lives,
            // and no thread writes them any more.
            MemoryOf::Results(lease) => unsafe {
                Buffer::from_custom_allocation(lease.start(), self.bytes, Arc::new(lease))
            },
        }
    }
}

// SAFETY: the pointers lead to memory that `owned` holds or that a blocked caller lends (see
// `TakeRequest::wait_into`), and by the module's invariant no two shards write the same place.
unsafe impl Send for Outputs {}
// SAFETY: as above; `write` takes `&self` because writers of disjoint places share it.
unsafe impl Sync for Outputs {}

impl Outputs {
    /// Buffers of the exact size for `ids`, in the memory for results as far as there is any. Ids
    /// past the end get zeros of fixed width and no bytes of variable width.
    pub(crate) fn allocate(
        dataset: &Dataset,
        projection: &Projection,
        ids: &[u64],
        results: Option<&Arc<ResultMemory>>,
    ) -> Result<Outputs> {
        let rows = ids.len();
        let mut columns = Vec::with_capacity(projection.columns().len());
        let mut owned = Vec::with_capacity(projection.columns().len());
        for &column in projection.columns() {
            match dataset.columns()[column].shape {
                ColumnShape::Variable { offsets: width, .. } => {
                    let (offsets, value_bytes) = value_offsets(dataset, column, width, ids)?;
                    let value_bytes = value_bytes as usize;
                    let mut values = Memory::new(results, value_bytes);
                    let ends = match width {
                        ringtake_storage::column::OffsetWidth::I32 => Ends::I32(aligned(&offsets)),
                        ringtake_storage::column::OffsetWidth::I64 => Ends::I64(aligned(&offsets)),
                    };
                    columns.push(OutputColumn::Variable {
                        values: values.start(),
                        value_bytes,
                        ends,
                        rows,
                    });
                    owned.push(Owned::Variable { offsets, values });
                }
                shape => {
                    let width_bytes = shape.width_bytes().unwrap_or_default() as usize;
                    let mut values = Memory::new(results, width_bytes * rows);
                    let column = OutputColumn::Fixed {
                        values: values.start(),
                        width_bytes,
                        rows,
                        leased: values.is_leased(),
                    };
                    zero_missing(&column, dataset.rows(), ids);
                    columns.push(column);
                    owned.push(Owned::Fixed(values));
                }
            }
        }
        Ok(Outputs { columns, owned })
    }

    /// Bytes of all values.
    pub(crate) fn value_bytes(&self) -> usize {
        let bytes = |column: &OutputColumn| match column {
            OutputColumn::Fixed {
                width_bytes, rows, ..
            } => width_bytes * rows,
            OutputColumn::Variable { value_bytes, .. } => *value_bytes,
        };
        self.columns.iter().map(bytes).sum()
    }

    /// The caller's own buffers, for ids that all exist.
    ///
    /// # Safety
    /// The buffers outlive the returned value and every clone of an `Arc` around it, and no
    /// other code reads or writes them meanwhile.
    pub(crate) unsafe fn borrow(
        dataset: &Dataset,
        projection: &Projection,
        ids: &[u64],
        buffers: &mut [ColumnBuffer<'_>],
    ) -> Result<Outputs> {
        if buffers.len() != projection.columns().len() {
            return Err(Error::Buffer {
                column: buffers.len(),
                reason: format!(
                    "there are {} buffers for {} columns",
                    buffers.len(),
                    projection.columns().len()
                ),
            });
        }
        let mut columns = Vec::with_capacity(buffers.len());
        for (place, (&column, buffer)) in projection.columns().iter().zip(buffers).enumerate() {
            let width = dataset.columns()[column].shape.width_bytes();
            let refuse = |reason| Error::Buffer {
                column: place,
                reason,
            };
            columns.push(match (width, buffer) {
                (Some(width), ColumnBuffer::Fixed(values)) => {
                    OutputColumn::borrow_fixed(values, width as usize, ids.len()).map_err(refuse)?
                }
                (None, ColumnBuffer::Variable { values, offsets }) => {
                    OutputColumn::borrow_variable(dataset, column, ids, values, offsets)?
                }
                (Some(_), ColumnBuffer::Variable { .. }) => {
                    let reason = "the column has a fixed width; give it a `Fixed` buffer";
                    return Err(refuse(reason.to_owned()));
                }
                (None, ColumnBuffer::Fixed(_)) => {
                    let reason = "the column has a variable width; give it a `Variable` buffer";
                    return Err(refuse(reason.to_owned()));
                }
            });
        }
        Ok(Outputs {
            columns,
            owned: Vec::new(),
        })
    }

    /// Writes the value of `column` at `place`.
    ///
    /// # Panics
    /// If the place or the number of bytes is not what was allocated for.
    ///
    /// # Safety
    /// No other thread writes the same column and place, and no thread reads it before the take
    /// is finished.
    #[inline]
    pub(crate) unsafe fn write(&self, column: usize, place: usize, bytes: &[u8]) {
        match &self.columns[column] {
            OutputColumn::Fixed {
                values,
                width_bytes,
                rows,
                ..
            } => {
                assert!(
                    place < *rows && bytes.len() == *width_bytes,
                    "{} bytes at {place} of {rows}",
                    bytes.len()
                );
                // SAFETY: `rows * width_bytes` bytes were allocated and the place is below
                // `rows`; source and target do not overlap, since the target is only reached
                // through this pointer; the caller vouches for exclusivity.
                unsafe {
                    let target = values.as_ptr().add(place * width_bytes);
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, *width_bytes);
                }
            }
            OutputColumn::Variable {
                values,
                value_bytes,
                ends,
                rows,
            } => {
                assert!(place < *rows, "place {place} of {rows}");
                // SAFETY: there are `rows + 1` offsets, written before the take began and only
                // read since.
                let (from, to) = unsafe {
                    match ends {
                        Ends::I32(ends) => (
                            ends.add(place).read() as usize,
                            ends.add(place + 1).read() as usize,
                        ),
                        Ends::I64(ends) => (
                            ends.add(place).read() as usize,
                            ends.add(place + 1).read() as usize,
                        ),
                    }
                };
                assert!(
                    from <= to && to <= *value_bytes && to - from == bytes.len(),
                    "{from}..{to} for {} bytes",
                    bytes.len()
                );
                // SAFETY: the range was just checked against what was allocated; exclusivity is
                // the caller's.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        bytes.as_ptr(),
                        values.as_ptr().add(from),
                        bytes.len(),
                    );
                }
            }
        }
    }

    /// Where the value of `column` at `place` goes, if a drive may write `bytes` bytes there:
    /// memory that stays as long as this value does, whatever becomes of the take.
    #[inline]
    pub(crate) fn lent(&self, column: usize, place: usize, bytes: usize) -> Option<NonNull<u8>> {
        match &self.columns[column] {
            OutputColumn::Fixed {
                values,
                width_bytes,
                rows,
                leased: true,
            } if *width_bytes == bytes && place < *rows => {
                // SAFETY: the place is below `rows`, so it is inside the lease.
                Some(unsafe { values.add(place * width_bytes) })
            }
            _ => None,
        }
    }

    /// Asks the processor for the memory of `column` at `place`, which will be written soon.
    #[inline]
    pub(crate) fn prefetch(&self, column: usize, place: usize) {
        if let OutputColumn::Fixed {
            values,
            width_bytes,
            rows,
            ..
        } = &self.columns[column]
            && place < *rows
        {
            // SAFETY: the place is below `rows`, so the address is inside the column.
            let start = unsafe { values.add(place * width_bytes) };
            prefetch::for_write(start.as_ptr(), *width_bytes);
        }
    }

    /// The filled buffers.
    ///
    /// # Safety
    /// Every place of every column has been written.
    pub(crate) unsafe fn into_columns(self) -> Vec<ColumnBytes> {
        self.owned
            .into_iter()
            .map(|owned| match owned {
                Owned::Fixed(values) => {
                    // SAFETY: every place has been written, as the caller vouches.
                    ColumnBytes::Fixed(unsafe { values.into_buffer() })
                }
                Owned::Variable { offsets, values } => {
                    // SAFETY: as above; the offsets cover the values without gaps.
                    let values = unsafe { values.into_buffer() };
                    ColumnBytes::Variable { offsets, values }
                }
            })
            .collect()
    }
}

fn aligned<T>(buffer: &Buffer) -> NonNull<T> {
    // A buffer made from a vector of T is aligned for T.
    NonNull::new(buffer.as_ptr().cast_mut().cast()).unwrap_or(NonNull::dangling())
}

fn zero_missing(column: &OutputColumn, rows_there: u64, ids: &[u64]) {
    let OutputColumn::Fixed {
        values,
        width_bytes,
        ..
    } = column
    else {
        return;
    };
    for (place, _) in ids.iter().enumerate().filter(|(_, id)| **id >= rows_there) {
        // SAFETY: `place` is below the number of ids, for which the column was allocated, and
        // no shard has been given the outputs yet.
        unsafe { std::ptr::write_bytes(values.as_ptr().add(place * width_bytes), 0, *width_bytes) };
    }
}

/// A caller's own memory for one column of
/// [`TakeRequest::wait_into`](crate::TakeRequest::wait_into).
/// Nulls are zeros or empty; ask [`Store::nulls`](crate::Store::nulls) which rows they are.
#[derive(Debug)]
pub enum ColumnBuffer<'a> {
    /// Values of fixed width, one after another: exactly `ids * width` bytes. Booleans are one
    /// byte each.
    Fixed(&'a mut [u8]),
    /// Values of variable width. Both vectors are cleared and filled; their capacity is kept.
    Variable {
        /// The values, one after another.
        values: &'a mut Vec<u8>,
        /// `ids + 1` offsets into them, the first of them 0.
        offsets: &'a mut Vec<i64>,
    },
}
