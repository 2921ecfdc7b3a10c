//! A shard's inbox: a bounded channel and the doorbell beside it.
//!
//! Invariant: whoever sends holds a permit of the store's admission, of which there are no more
//! than the channel has room for; so sending does not block.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::Error;
use crate::doorbell::Doorbell;
use crate::local::LocalShard;
use crate::part::Part;

/// A future that stays on the shard where it was made.
pub(crate) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// What a shard can be sent.
pub(crate) enum Message {
    /// Rows to take.
    Take(Part),
    /// Code to run on the shard.
    Run(Box<dyn FnOnce(LocalShard) -> LocalFuture + Send>),
    /// Finish what is in flight and end.
    Stop,
}

/// The senders' side.
#[derive(Clone)]
pub(crate) struct Inbox {
    messages: Sender<Message>,
    doorbell: Arc<Doorbell>,
}

/// Both sides of the inbox of one shard. One message more than `permits` fits: the last one.
pub(crate) fn inbox(permits: usize) -> std::io::Result<(Inbox, Receiver<Message>, Arc<Doorbell>)> {
    let (messages, received) = bounded(permits + 1);
    let doorbell = Arc::new(Doorbell::new()?);
    let inbox = Inbox {
        messages,
        doorbell: doorbell.clone(),
    };
    Ok((inbox, received, doorbell))
}

impl Inbox {
    /// Sends one message and wakes the shard if it sleeps.
    ///
    /// # Errors
    /// The shard's thread has ended.
    pub(crate) fn send(&self, message: Message) -> Result<(), Error> {
        match self.messages.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => return Err(Error::Closed),
            Err(TrySendError::Full(message)) => {
                debug_assert!(false, "an inbox has room for every permit");
                self.doorbell.ring();
                self.messages.send(message).map_err(|_| Error::Closed)?;
            }
        }
        self.doorbell.ring();
        Ok(())
    }
}
