//! Pages that are on their way already: a page that several takes want at the same time is read
//! once.
//!
//! A table of tokens, indexed by the low bits of the page number. Two pages may fall on one place;
//! then the later one is found and the earlier is read again, which costs a read and is right all
//! the same. Nothing is removed: a token that is found may be that of a read that has ended, so its
//! read is looked at before it is relied on.

use ringtake_storage::layout::PAGE_BYTES;

/// Rows of one part that a read brings.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PartRows {
    /// The part's name.
    pub(super) part: u32,
    /// Which of the projection's groups.
    pub(super) group: u32,
    pub(super) first_entry: u32,
    pub(super) entries: u32,
}

const NO_TOKEN: u32 = u32::MAX;
/// Places per read of the queue depth, so that few pages fall on one place.
const PLACES_PER_READ: u32 = 8;
/// Files begin at different places of the table.
const FILE_STRIDE: u64 = 0x9E37_79B9;

/// Which read in flight brings which page.
#[derive(Debug)]
pub(super) struct InFlightPages {
    tokens: Box<[u32]>,
}

impl InFlightPages {
    pub(super) fn new(queue_depth: u32) -> InFlightPages {
        let places = (queue_depth * PLACES_PER_READ).next_power_of_two();
        InFlightPages {
            tokens: vec![NO_TOKEN; places as usize].into(),
        }
    }

    #[inline]
    fn place(&self, file: u32, page: u64) -> usize {
        let place = page.wrapping_add(u64::from(file).wrapping_mul(FILE_STRIDE));
        place as usize & (self.tokens.len() - 1)
    }

    /// Notes that the read `token` brings these bytes of `file`.
    #[inline]
    pub(super) fn note(&mut self, file: u32, offset: u64, bytes: u32, token: u32) {
        let last = (offset + u64::from(bytes) - 1) / PAGE_BYTES;
        for page in offset / PAGE_BYTES..=last {
            let place = self.place(file, page);
            self.tokens[place] = token;
        }
    }

    /// A read that may bring the page of `file` at `offset`.
    #[inline]
    pub(super) fn find(&self, file: u32, offset: u64) -> Option<u32> {
        let token = self.tokens[self.place(file, offset / PAGE_BYTES)];
        (token != NO_TOKEN).then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_of_a_read_leads_to_it() {
        let mut pages = InFlightPages::new(4);
        pages.note(1, 5 * 4096 + 512, 2 * 4096, 3);
        for page in 5..=7 {
            assert_eq!(pages.find(1, page * 4096 + 100), Some(3), "page {page}");
        }
        assert_eq!(pages.find(1, 4 * 4096), None);
        assert_eq!(pages.find(1, 8 * 4096), None);
        pages.note(1, 6 * 4096, 4096, 2);
        assert_eq!(pages.find(1, 6 * 4096), Some(2));
    }
}
