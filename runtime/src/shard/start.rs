//! The start of a shard: it opens a read path, loads its codes of the indexes, makes an engine and
//! fills the cache before its loop begins.

use std::sync::Arc;

use io_uring::IoUring;
use serde::Serialize;

use crate::config::ReadPathChoice;
use crate::device::page_cache_first::page_cache_first;
use crate::device::path_spec::PathSpec;
use crate::device::read_path::{Made as MadePath, ReadPath};
use crate::device::ring::RingFeatures;
use crate::error::shortage::{Asked, shortage, shortage_of_glommio};
use crate::index::codes::ShardCodes;
use crate::index::opened::OpenIndex;
use crate::memory::arena::Arena;
use crate::metrics::Meter;
use crate::shard::context::ShardContext;
use crate::shard::engine::Engine;
use crate::shard::executor::Executor;

/// How a shard was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardInfo {
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// The kernel's name for its thread.
    pub thread: String,
    /// The executor that runs it: `glommio`, or `plain` where io_uring is missing.
    pub executor: &'static str,
    /// Its ring, if it has one.
    pub ring: Option<RingFeatures>,
    /// Bytes of the codes of its rows, by index.
    pub codes_bytes: Vec<u64>,
    /// Rows that its pinned cache lacks or holds damaged, one sentence each.
    pub warnings: Vec<String>,
}

/// A shard's report that it has started, or the reason why it has not.
pub(crate) type StartReport = Result<ShardInfo, String>;

/// An engine ready for its first part.
pub(super) struct Made<'a> {
    pub(super) engine: Engine<'a>,
    pub(super) info: ShardInfo,
}

/// Makes the engine and fills its cache. A ring of its own goes to `ring`.
///
/// # Errors
/// Why the shard cannot start, as one sentence.
pub(super) async fn make<'a>(
    context: &'a ShardContext,
    executor: &Executor,
    arena: &'a Arena,
    meter: &'a Meter<'a>,
    ring: &'a mut Option<IoUring>,
) -> Result<Made<'a>, String> {
    let (path, features) = read_path(context, executor, arena, ring).await?;
    // SAFETY: `context.files` outlives the engine, which owns the path.
    let path = unsafe { page_cache_first(path, &context.files, &context.counters) };
    let codes = codes(context).map_err(|error| error.to_string())?;
    let codes_bytes = codes.iter().map(ShardCodes::bytes).collect();
    let mut engine =
        Engine::new(context, arena, meter, path, codes).map_err(|bad| bad.to_string())?;
    let warnings = engine.load().await;
    let warnings = warnings.map_err(|error| shortage(&error, Asked::Memory))?;
    let info = ShardInfo {
        cpu: context.cpu(),
        thread: std::thread::current().name().unwrap_or_default().to_owned(),
        executor: executor.name(),
        ring: features,
        codes_bytes,
        warnings,
    };
    Ok(Made { engine, info })
}

/// The read path of the shard. Glommio's files are opened by the executor that reads them.
async fn read_path<'a>(
    context: &'a ShardContext,
    executor: &Executor,
    arena: &'a Arena,
    ring: &'a mut Option<IoUring>,
) -> Result<MadePath<'a>, String> {
    if let (Executor::Glommio(reads), ReadPathChoice::Glommio) =
        (executor, context.config.read_path)
    {
        let opened = reads.open(
            &context.files,
            context.config.queue_depth,
            &context.doorbell,
        );
        let path = opened.await.map_err(|error| shortage_of_glommio(&error))?;
        return Ok((Box::new(path) as Box<dyn ReadPath>, None));
    }
    let arena_span = arena.region().span();
    let results = context.results.iter().map(|results| results.span());
    let spec = PathSpec {
        shard: context.shard.0,
        read_path: context.config.read_path,
        queue_depth: context.config.queue_depth,
        files: context.files.clone(),
        memory: std::iter::once(arena_span).chain(results).collect(),
        doorbell: context.doorbell.clone(),
        counters: context.counters.clone(),
        rings: context.rings.clone(),
    };
    // SAFETY: the arena, and the results and files that the context keeps, outlive the engine,
    // which owns the path: all are borrowed for `'a`.
    unsafe { spec.scheduled(context.config.lab.scheduler, ring) }
        .map_err(|error| shortage(&error, Asked::Ring))
}

/// The codes of this shard's rows, in memory that its own thread is the first to touch.
fn codes(context: &ShardContext) -> ringtake_storage::Result<Vec<ShardCodes>> {
    let shard = context.shard.0;
    let of = |open: &Arc<OpenIndex>| {
        let file = open.file();
        ShardCodes::of(
            &open.index,
            file.as_ref().as_ref(),
            context.ownership,
            shard,
        )
    };
    context.indexes.iter().map(of).collect()
}
