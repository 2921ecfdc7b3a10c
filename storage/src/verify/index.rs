//! Verification of the index of a column.

use std::ops::Range;
use std::path::Path;

use super::{Damage, Finding};
use crate::Error;
use crate::dataset::TableCheck;
use crate::layout::PAGE_BYTES;
use crate::manifest::Manifest;
use crate::vector::index::{
    HEADER_BYTES, Index, IndexLayout, IndexedColumn, footer_at, index_name, read_layout,
};
use crate::vector::kernels::Kernels;

/// Checks the index of column `column` and appends to `findings`: its version of the dataset, the
/// checksum of each part, the padding, and that its lists have every row once.
pub fn verify_index(manifest: &Manifest, column: usize, index: &[u8], findings: &mut Vec<Finding>) {
    let of = IndexedColumn {
        layout: &manifest.layout,
        schema: &manifest.schema,
        column,
    };
    let mut examination = Examination {
        name: index_name(column),
        bytes: index,
        findings,
    };
    let name = examination.name.clone();
    let layout = match read_layout(Path::new(&name), examination.bytes, &of) {
        Ok(layout) => layout,
        Err(error) => return examination.find(0, None, Damage::Header(words(&error))),
    };
    if !examination.sections(&layout) {
        return;
    }
    match Index::open(Path::new(&name), examination.bytes, &of, TableCheck::Skip) {
        Ok(index) => examination.contents(&index),
        Err(error) => examination.find(0, None, Damage::Header(words(&error))),
    }
}

/// The message of an error without the name of the file.
fn words(error: &Error) -> String {
    let what = match error {
        Error::DamagedIndex { what, .. } => what.clone(),
        Error::ForeignIndex { .. } => {
            "it belongs to another dataset or another version of this one".to_owned()
        }
        other => return other.to_string(),
    };
    format!("{what}; build it again with `ringtake index`")
}

struct Examination<'a> {
    name: String,
    bytes: &'a [u8],
    findings: &'a mut Vec<Finding>,
}

impl Examination<'_> {
    fn find(&mut self, at: u64, row: Option<u64>, what: Damage) {
        self.findings.push(Finding {
            file: self.name.clone(),
            dir: None,
            page: at / PAGE_BYTES,
            group: None,
            row,
            what,
        });
    }

    /// Checks the sections and the padding between them. Returns whether each section is in its
    /// place.
    fn sections(&mut self, layout: &IndexLayout) -> bool {
        let mut taken = Vec::with_capacity(9);
        taken.push(0..HEADER_BYTES as u64);
        let lists = ("lists", layout.lists, layout.lists.bytes);
        let mut placed = true;
        for (name, section, bytes) in layout.sections().into_iter().chain([lists]) {
            match section.of(self.bytes, name, bytes) {
                Err(what) => {
                    placed = false;
                    self.find(0, None, Damage::Place(what));
                }
                // An absent section has neither offset nor checksum.
                Ok([]) => {}
                Ok(found) => {
                    if crate::checksum::xxh3(found) != section.xxh3 {
                        self.find(section.offset, None, Damage::Section(name));
                    }
                    taken.push(section.offset..section.offset + bytes);
                }
            }
        }
        if placed {
            taken.push(footer_at(self.bytes) as u64..self.bytes.len() as u64);
            taken.sort_by_key(|range| range.start);
            self.between(&taken);
        }
        placed
    }

    /// Checks the padding between the ranges in `taken`, which are in order.
    fn between(&mut self, taken: &[Range<u64>]) {
        for pair in taken.windows(2) {
            let (from, to) = (pair[0].end, pair[1].start);
            if from > to {
                let what = "two of its parts overlap".to_owned();
                self.find(to, None, Damage::Place(what));
            } else {
                self.zeros(from as usize..to as usize);
            }
        }
    }

    fn zeros(&mut self, range: Range<usize>) {
        let first = range.start as u64;
        if let Some(place) = self.bytes[range].iter().position(|&byte| byte != 0) {
            self.find(first + place as u64, None, Damage::Padding);
        }
    }

    /// Checks the axes and the rows of all partitions.
    fn contents(&mut self, index: &Index) {
        let layout = index.layout();
        let rotation = index.quantiser().rotation();
        if rotation.is_some_and(|rotation| !rotation.is_orthogonal(Kernels::best())) {
            let what = "its axes are not at right angles".to_owned();
            self.find(layout.rotation.offset, None, Damage::Place(what));
        }
        let mut seen = vec![0_u64; layout.rows.div_ceil(64) as usize];
        for partition in 0..layout.partitions as usize {
            let range = index.list_range(partition);
            let list = match index.list(self.bytes, partition) {
                Ok(list) => list,
                Err(error) => {
                    self.find(range.start as u64, None, Damage::Place(words(&error)));
                    continue;
                }
            };
            let mut twice = None;
            for &row in list.rows {
                let (word, bit) = (row as usize / 64, row % 64);
                if seen[word] >> bit & 1 == 1 {
                    twice = twice.or(Some(row));
                }
                seen[word] |= 1 << bit;
            }
            if let Some(row) = twice {
                let what = format!("it is in partition {partition} and in one before");
                self.find(range.start as u64, Some(row.into()), Damage::Place(what));
            }
            let stored = size_of_val(list.rows) + list.codes.len();
            self.zeros(range.start + stored..range.end);
            let odd = layout.codes % 2 == 1;
            let mut last = list.codes.chunks_exact(layout.code_bytes());
            if odd && !last.all(|code| code.last().is_none_or(|byte| byte >> 4 == 0)) {
                self.find(range.start as u64, None, Damage::Padding);
            }
        }
    }
}
