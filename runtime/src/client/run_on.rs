//! Running a caller's code on the thread of a shard.

use std::future::Future;

use crate::admission::{Need, Terms};
use crate::client::local::LocalShard;
use crate::client::store::Store;
use crate::error::{Error, Result};
use crate::ownership::ShardId;
use crate::shard::inbox::Message;
use crate::shard::local::{LocalContext, LocalFuture, catch_panic};

impl Store {
    /// Runs `make`'s future on the thread of shard `shard`, beside its reads. There
    /// [`LocalShard::take`] brings rows without a hop. The code must not block: the shard reads
    /// nothing meanwhile, and calls of this store that block return [`Error::WouldDeadlock`]. A panic in it fails this call and leaves the shard at work.
    ///
    /// # Errors
    /// No such shard, a panic, a closed store.
    pub fn run_on<F, Fut, T>(
        &self,
        shard: ShardId,
        make: F,
    ) -> impl Future<Output = Result<T>> + Send + 'static + use<F, Fut, T>
    where
        F: FnOnce(LocalShard) -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
        T: Send + 'static,
    {
        let core = self.core.clone();
        async move {
            core.check_open()?;
            let shards = core.inboxes.len();
            let inbox = core.inboxes.get(shard.0).ok_or(Error::NoSuchShard {
                shard: shard.0,
                shards,
            })?;
            let need = Need {
                windows: 1,
                ..Need::default()
            };
            let permit = core
                .admission
                .ask(Terms::default(), need)
                .await
                .map_err(|refused| refused.into_error(0))?;
            let (answer, answered) = async_channel::bounded(1);
            let run = move |context: LocalContext| -> LocalFuture {
                let local = LocalShard::new(context);
                // The inbox has room again.
                drop(permit);
                Box::pin(async move {
                    let outcome = catch_panic(async move { make(local).await }).await;
                    // There is room for the one answer; a caller that has gone needs none.
                    let _ = answer.try_send(outcome);
                })
            };
            let ended = Error::ShardEnded { shard: shard.0 };
            if inbox.send(Message::Run(Box::new(run))).is_err() {
                return core.as_closed(Err(ended));
            }
            match answered.recv().await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(message)) => Err(Error::Panicked {
                    shard: shard.0,
                    message,
                }),
                Err(_) => core.as_closed(Err(ended)),
            }
        }
    }
}
