//! Memory for results that is used over and over: lent to a take, given back when the last Arrow
//! array over it is dropped.
//!
//! Fresh memory costs a page fault and a cleared page for each page of a result. This memory has
//! been faulted in once, in huge pages where there are any, and is registered with the shards'
//! rings, so that a drive can write a row straight to its place in the result. It is bounded: a
//! result that does not fit comes from the heap as always.
//!
//! One lock per column and take, none per row. Free runs are found first fit, lowest address
//! first, and joined with their neighbours when they come back (Knuth, TAOCP 2.5).

use std::collections::BTreeMap;
use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use crate::host::lock::lock;
use crate::memory::arena::{Region, Span};

/// A column of fewer bytes comes from the heap: small memory there is warm as it is.
const LEASE_BYTES_MIN: usize = 32 << 10;
/// Leases begin and end at multiples of this, so that every device can write into them.
const GRAIN_BYTES: usize = 4096;

/// One region of memory for results, and its free runs.
#[derive(Debug)]
pub(crate) struct ResultMemory {
    region: Region,
    free: Mutex<FreeRuns>,
}

impl ResultMemory {
    /// Memory of about `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> io::Result<Arc<ResultMemory>> {
        let bytes = bytes.next_multiple_of(GRAIN_BYTES);
        Ok(Arc::new(ResultMemory {
            region: Region::new(bytes)?,
            free: Mutex::new(FreeRuns::new(bytes)),
        }))
    }

    pub(crate) fn span(&self) -> Span {
        self.region.span()
    }

    /// Room for `bytes` bytes, if it is worth while and there is any. The contents are whatever
    /// results before have left.
    pub(crate) fn lease(self: &Arc<Self>, bytes: usize) -> Option<Lease> {
        if bytes < LEASE_BYTES_MIN {
            return None;
        }
        let bytes = bytes.checked_next_multiple_of(GRAIN_BYTES)?;
        let offset = self.free().take(bytes)?;
        Some(Lease {
            memory: self.clone(),
            offset,
            bytes,
        })
    }

    /// Whether all of it is free.
    #[cfg(test)]
    pub(crate) fn is_whole(&self) -> bool {
        let free = self.free();
        free.0.values().sum::<usize>() == self.region.span().bytes
    }

    fn free(&self) -> std::sync::MutexGuard<'_, FreeRuns> {
        lock(&self.free)
    }
}

/// Memory of one column of one result. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    memory: Arc<ResultMemory>,
    offset: usize,
    bytes: usize,
}

impl Lease {
    pub(crate) fn start(&self) -> NonNull<u8> {
        // SAFETY: runs lie inside the region.
        unsafe { self.memory.region.start().add(self.offset) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.memory.free().give_back(self.offset, self.bytes);
    }
}

/// Unused runs, from their offset to their length. Never empty, never adjacent.
#[derive(Debug)]
struct FreeRuns(BTreeMap<usize, usize>);

impl FreeRuns {
    fn new(bytes: usize) -> FreeRuns {
        FreeRuns(if bytes == 0 {
            BTreeMap::new()
        } else {
            [(0, bytes)].into()
        })
    }

    fn take(&mut self, bytes: usize) -> Option<usize> {
        let (&offset, &run) = self.0.iter().find(|(_, run)| **run >= bytes)?;
        self.0.remove(&offset);
        if run > bytes {
            self.0.insert(offset + bytes, run - bytes);
        }
        Some(offset)
    }

    fn give_back(&mut self, offset: usize, bytes: usize) {
        let (mut start, mut end) = (offset, offset + bytes);
        if let Some(after) = self.0.remove(&end) {
            end += after;
        }
        if let Some((&before, &run)) = self.0.range(..offset).next_back()
            && before + run == offset
        {
            self.0.remove(&before);
            start = before;
        }
        self.0.insert(start, end - start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES: usize = 1 << 20;

    #[test]
    fn small_columns_and_those_without_room_come_from_elsewhere() {
        let memory = ResultMemory::new(BYTES).unwrap();
        assert!(memory.lease(LEASE_BYTES_MIN - 1).is_none());
        assert!(memory.lease(BYTES + 1).is_none());
        let all = memory.lease(BYTES).unwrap();
        assert!(memory.lease(LEASE_BYTES_MIN).is_none());
        drop(all);
        assert!(memory.lease(LEASE_BYTES_MIN).is_some());
        assert!(memory.lease(usize::MAX).is_none());
    }

    proptest! {
        #[test]
        fn leases_never_overlap_and_all_room_comes_back(
            steps in proptest::collection::vec((any::<bool>(), 1_usize..300_000, any::<prop::sample::Index>()), 0..200)
        ) {
            let memory = ResultMemory::new(BYTES).unwrap();
            let mut held: Vec<Lease> = Vec::new();
            for (take, bytes, which) in steps {
                if take {
                    held.extend(memory.lease(bytes));
                } else if !held.is_empty() {
                    held.swap_remove(which.index(held.len()));
                }
                let mut ranges: Vec<_> = held.iter().map(|lease| (lease.offset, lease.offset + lease.bytes)).collect();
                ranges.sort_unstable();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
                prop_assert!(ranges.last().is_none_or(|last| last.1 <= BYTES));
                prop_assert!(ranges.iter().all(|range| range.0 % GRAIN_BYTES == 0));
            }
            drop(held);
            prop_assert_eq!(&memory.free().0, &BTreeMap::from([(0, BYTES)]));
        }
    }
}
