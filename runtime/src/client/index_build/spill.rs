//! Coded rows on their way from the order of rows to the order of partitions.
//!
//! Memory is bounded: a file without a name holds the rows, and is read once for each group of
//! partitions that fits.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use ringtake_storage::vector::index::writer::IndexWriter;

use super::progress::{Watch, report};
use crate::error::Result;

/// A coded row.
pub(super) struct Record {
    pub(super) partition: u32,
    pub(super) row: u32,
    pub(super) code: Vec<u8>,
}

/// Rows of one partition and their codes.
type CodedList = Vec<(u32, Box<[u8]>)>;

/// Coded rows in a file without a name, which is gone when it is closed.
pub(super) struct Spill {
    file: BufWriter<File>,
    path: PathBuf,
    code_bytes: usize,
    counts: Vec<u64>,
}

impl Spill {
    pub(super) fn new(dir: &Path, partitions: usize, code_bytes: usize) -> Result<Spill> {
        let file = tempfile::tempfile_in(dir)
            .map_err(ringtake_storage::Error::io("make a file in", dir))?;
        Ok(Spill {
            file: BufWriter::with_capacity(1 << 20, file),
            path: dir.to_owned(),
            code_bytes,
            counts: vec![0; partitions],
        })
    }

    fn record_bytes(&self) -> usize {
        8 + self.code_bytes
    }

    pub(super) fn push(&mut self, records: &[Record]) -> Result<()> {
        for record in records {
            self.counts[record.partition as usize] += 1;
            let mut write = |bytes: &[u8]| self.file.write_all(bytes);
            write(&record.partition.to_le_bytes())
                .and_then(|()| write(&record.row.to_le_bytes()))
                .and_then(|()| write(&record.code))
                .map_err(ringtake_storage::Error::io("write a file in", &self.path))?;
        }
        Ok(())
    }

    /// Appends the rows of all partitions in their order, and commits.
    pub(super) fn write(
        mut self,
        mut writer: IndexWriter,
        gather_bytes_max: u64,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let failed = |error| ringtake_storage::Error::io("write a file in", &self.path)(error);
        self.file.flush().map_err(failed)?;
        let record_bytes = self.record_bytes();
        let rows: u64 = self.counts.iter().sum();
        let (mut first, mut done) = (0, 0);
        while first < self.counts.len() {
            let (mut end, mut bytes) = (first, 0);
            while end < self.counts.len() {
                bytes += self.counts[end] * record_bytes as u64;
                if end > first && bytes > gather_bytes_max {
                    break;
                }
                end += 1;
            }
            for mut list in self.gather(first..end, rows)? {
                list.sort_unstable_by_key(|(row, _)| *row);
                let ids: Vec<u32> = list.iter().map(|(row, _)| *row).collect();
                let codes: Vec<u8> = list.into_iter().flat_map(|(_, code)| code).collect();
                writer.push_list(&ids, &codes)?;
                done += ids.len() as u64;
            }
            first = end;
            report(watch, "writing", done, rows)?;
        }
        writer.commit()?;
        Ok(())
    }

    /// The rows of `partitions`, by reading all.
    fn gather(&mut self, partitions: std::ops::Range<usize>, rows: u64) -> Result<Vec<CodedList>> {
        let failed = |error| ringtake_storage::Error::io("read a file in", &self.path)(error);
        let mut lists = vec![Vec::new(); partitions.len()];
        let mut file = self.file.get_ref();
        file.rewind().map_err(failed)?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut record = vec![0; self.record_bytes()];
        for _ in 0..rows {
            file.read_exact(&mut record).map_err(failed)?;
            let at = |at: usize| [record[at], record[at + 1], record[at + 2], record[at + 3]];
            let partition = u32::from_le_bytes(at(0)) as usize;
            if let Some(place) = partition.checked_sub(partitions.start)
                && let Some(list) = lists.get_mut(place)
            {
                list.push((u32::from_le_bytes(at(4)), record[8..].into()));
            }
        }
        Ok(lists)
    }
}
