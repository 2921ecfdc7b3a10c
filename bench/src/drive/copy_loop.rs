//! The loop that copies rows out of the page cache: each into an output of its own, in memory that
//! every query uses again.

use std::time::Instant;

use ringtake_runtime::ShardStats;

use crate::drive::clients::{Clients, Work};
use crate::drive::planned::{Share, run_pinned};
use crate::drive::run::{Client, Run};
use crate::drive::yardstick::Yardstick;
use crate::error::Error;

/// Threads that copy.
pub(crate) struct CopyLoop<'a>(pub(crate) &'a Yardstick);

impl Clients for CopyLoop<'_> {
    fn run(&self, work: Work<'_>, at_start: &mut dyn FnMut()) -> Result<Run, Error> {
        run_pinned(work, at_start, |client, share| {
            self.one_thread(client, share)
        })
    }
}

impl CopyLoop<'_> {
    fn one_thread(&self, client: &mut Client, share: &Share<'_>) -> Result<(), Error> {
        let Yardstick { plan, files, .. } = self.0;
        let bytes_of = |query| plan.query(query).iter().map(|at| at.bytes as usize).sum();
        let out_bytes = (0..plan.queries()).map(bytes_of).max();
        let mut out = vec![0_u8; out_bytes.unwrap_or(0)];
        let mut system_calls = 0;
        share.start();
        while let Some((query, asked)) = share.next_query() {
            let mut free = out.as_mut_slice();
            for at in plan.query(query) {
                system_calls += files.copy(*at, free).map_err(Error::subject)?;
                client.touch(free[0]);
                free = &mut free[at.bytes as usize..];
            }
            client.answered(asked, Instant::now(), share.rows_per_query());
        }
        self.0.count(ShardStats {
            rows: client.rows,
            system_calls,
            ..ShardStats::default()
        });
        Ok(())
    }
}
