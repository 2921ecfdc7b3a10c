//! A shard's inbox: a bounded channel and the doorbell beside it.
//!
//! Invariants: a sender holds a permit of the store's admission, and the channel has room for a
//! message of every permit, so sending does not block. A message is taken or dropped, never kept:
//! a shard that ends drops the messages that have come, and a sender that finds that it has ended
//! drops those that came too late. (The channel alone would keep them until the last sender goes,
//! and that sender may be waiting for one of them.)

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::doorbell::Doorbell;
use crate::shard::local::{LocalContext, LocalFuture};
use crate::shard::part::Part;

/// A message to a shard.
pub(crate) enum Message {
    /// Rows to take.
    Take(Part),
    /// Code to run on the shard.
    Run(Box<dyn FnOnce(LocalContext) -> LocalFuture + Send>),
    /// Finish the parts at work and end.
    Stop,
}

/// The senders' side.
#[derive(Clone)]
pub(crate) struct Inbox {
    messages: Sender<Message>,
    /// The shard's side of the channel, for what comes after it has ended.
    left: Receiver<Message>,
    /// Written by the shard, once.
    ended: Arc<AtomicBool>,
    doorbell: Arc<Doorbell>,
    /// Whether parts carry the time at which they were sent.
    stamps: bool,
}

/// The shard's side. Dropped when the shard ends, however it does.
pub(crate) struct Messages {
    received: Receiver<Message>,
    ended: Arc<AtomicBool>,
}

/// The shard's thread has ended.
#[derive(Debug)]
pub(crate) struct Ended;

/// Both sides of the inbox of one shard. One message more than `permits` fits: the last one.
pub(crate) fn inbox(
    permits: usize,
    stamps: bool,
) -> std::io::Result<(Inbox, Messages, Arc<Doorbell>)> {
    let (messages, received) = bounded(permits + 1);
    let doorbell = Arc::new(Doorbell::new()?);
    let ended = Arc::new(AtomicBool::new(false));
    let inbox = Inbox {
        messages,
        left: received.clone(),
        ended: ended.clone(),
        doorbell: doorbell.clone(),
        stamps,
    };
    Ok((inbox, Messages { received, ended }, doorbell))
}

impl Messages {
    /// The messages that have come.
    pub(crate) fn try_iter(&self) -> impl Iterator<Item = Message> {
        self.received.try_iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// How many have come.
    pub(crate) fn len(&self) -> usize {
        self.received.len()
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The twin of the fence in `Inbox::send`: a message is seen here, or its sender sees
        // the end.
        fence(Ordering::SeqCst);
        self.received.try_iter().for_each(drop);
    }
}

impl Inbox {
    /// Sends one message and wakes the shard if it sleeps.
    ///
    /// # Errors
    /// The shard's thread has ended.
    pub(crate) fn send(&self, mut message: Message) -> Result<(), Ended> {
        if let Message::Take(part) = &mut message
            && self.stamps
        {
            part.stamp();
        }
        match self.messages.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => return Err(Ended),
            Err(TrySendError::Full(message)) => {
                debug_assert!(false, "an inbox has room for every permit");
                self.doorbell.ring();
                self.messages.send(message).map_err(|_| Ended)?;
            }
        }
        fence(Ordering::SeqCst);
        if self.ended.load(Ordering::Relaxed) {
            self.left.try_iter().for_each(drop);
            return Err(Ended);
        }
        self.doorbell.ring();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> (Message, Arc<()>) {
        let witness = Arc::new(());
        let held = witness.clone();
        let run = move |_: LocalContext| -> LocalFuture {
            drop(held);
            Box::pin(async {})
        };
        (Message::Run(Box::new(run)), witness)
    }

    #[test]
    fn a_shard_that_ends_drops_what_has_come() {
        let (inbox, messages, _) = inbox(2, false).unwrap();
        let (first, first_witness) = message();
        let (second, second_witness) = message();
        inbox.send(first).unwrap();
        inbox.send(second).unwrap();
        drop(messages);
        assert_eq!(Arc::strong_count(&first_witness), 1);
        assert_eq!(Arc::strong_count(&second_witness), 1);
    }

    #[test]
    fn what_comes_after_the_shard_has_ended_is_dropped_and_refused() {
        let (inbox, messages, _) = inbox(2, false).unwrap();
        drop(messages);
        let (late, witness) = message();
        assert!(matches!(inbox.send(late), Err(Ended)));
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}
