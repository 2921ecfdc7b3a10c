//! The executor that runs a shard: glommio's, or a plain one where io_uring is missing.

use std::rc::Rc;

use crate::config::ReadPathChoice;
use crate::device::control::dma_file::Reads;
use crate::shard::local::LocalFuture;

/// Which executor runs the shard.
#[derive(Clone)]
pub(super) enum Executor {
    /// With the reads of its own files, where those are the read path.
    Glommio(Rc<Reads>),
    Plain(Rc<async_executor::LocalExecutor<'static>>),
    /// A simulation, which polls every task that can go on.
    #[cfg(test)]
    Simulated(Rc<async_executor::LocalExecutor<'static>>),
}

impl Executor {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Executor::Glommio(_) => "glommio",
            Executor::Plain(_) => "plain",
            #[cfg(test)]
            Executor::Simulated(_) => "simulated",
        }
    }

    /// Runs `task` beside the shard's loop.
    pub(super) fn spawn(&self, task: LocalFuture) {
        match self {
            Executor::Glommio(_) => {
                glommio::spawn_local(task).detach();
            }
            Executor::Plain(executor) => executor.spawn(task).detach(),
            #[cfg(test)]
            Executor::Simulated(executor) => executor.spawn(task).detach(),
        }
    }

    /// Whether it has tasks beside the shard's loop from the beginning.
    pub(super) fn is_shared(&self, read_path: ReadPathChoice) -> bool {
        match self {
            Executor::Glommio(_) => read_path == ReadPathChoice::Glommio,
            Executor::Plain(_) => false,
            #[cfg(test)]
            Executor::Simulated(_) => true,
        }
    }

    /// Lets other tasks run, if the executor says that it is time.
    pub(super) async fn yield_if_needed(&self) {
        match self {
            Executor::Glommio(_) => glommio::yield_if_needed().await,
            Executor::Plain(_) => {}
            #[cfg(test)]
            Executor::Simulated(_) => futures_lite::future::yield_now().await,
        }
    }
}
