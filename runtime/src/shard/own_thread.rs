//! Whether the current thread is a shard's, and of which store: a call that blocks there would
//! wait for itself.

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;

use ringtake_storage::dataset::Dataset;

thread_local! {
    /// The dataset of the store whose shard runs on this thread; null on every other thread. It
    /// is compared and never read.
    static SHARD_OF: Cell<*const Dataset> = const { Cell::new(ptr::null()) };
}

/// Marks the current thread as a shard's of the store that opened `dataset`.
pub(crate) fn mark(dataset: &Arc<Dataset>) {
    SHARD_OF.set(Arc::as_ptr(dataset));
}

/// Whether the current thread is a shard's of the store that opened `dataset`.
pub(crate) fn is_marked(dataset: &Arc<Dataset>) -> bool {
    SHARD_OF.get() == Arc::as_ptr(dataset)
}
