//! Searches for several vectors, side by side.

use std::future::poll_fn;
use std::task::Poll;

use arrow::array::RecordBatch;

use crate::error::Result;

/// Searches of a batch in flight: more would only wait in line, and each is looked at whenever one
/// of them has news.
const BATCH_IN_FLIGHT: usize = 64;

/// Runs searches side by side; the answers in their order.
pub(super) async fn all<F>(searches: impl Iterator<Item = F>) -> Result<Vec<RecordBatch>>
where
    F: Future<Output = Result<RecordBatch>>,
{
    let mut waiting = searches.enumerate();
    let mut running: Vec<(usize, _)> = Vec::new();
    let mut answers: Vec<(usize, RecordBatch)> = Vec::new();
    poll_fn(|context| {
        loop {
            let room = BATCH_IN_FLIGHT - running.len();
            let next = waiting.by_ref().take(room);
            running.extend(next.map(|(place, search)| (place, Box::pin(search))));
            let before = answers.len();
            let mut at = 0;
            while let Some((place, search)) = running.get_mut(at) {
                match search.as_mut().poll(context) {
                    Poll::Ready(done) => {
                        answers.push((*place, done?));
                        running.swap_remove(at);
                    }
                    Poll::Pending => at += 1,
                }
            }
            if running.is_empty() && answers.len() == before {
                return Poll::Ready(Ok(()));
            }
            // Where some have ended, others begin.
            if answers.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await
    .map(|()| {
        answers.sort_unstable_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    })
}
