//! Rows of reads that failed, to be read again one by one: the device may have failed for bytes
//! that not all of the rows need.

use super::sharing::PartRows;

/// Rows to be read again. Their parts count them as in flight.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// One row each.
    single_rows: Vec<PartRows>,
    /// The next of them waits for large or oversize reads to complete.
    held_back: bool,
}

impl Retries {
    /// Notes each row of a read that failed.
    pub(super) fn add(&mut self, rows: PartRows) {
        let entries = rows.first_entry..rows.first_entry + rows.entries;
        self.single_rows.extend(entries.map(|first_entry| PartRows {
            first_entry,
            entries: 1,
            ..rows
        }));
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.single_rows.is_empty()
    }

    /// Whether a row may be read again now, if there is a token.
    #[inline]
    pub(super) fn can_go_on(&self) -> bool {
        !self.single_rows.is_empty() && !self.held_back
    }

    /// The row to read next.
    pub(super) fn next(&mut self) -> Option<PartRows> {
        if self.held_back {
            return None;
        }
        self.single_rows.pop()
    }

    /// Gives a row back that has to wait for large or oversize reads to complete.
    pub(super) fn hold_back(&mut self, row: PartRows) {
        self.single_rows.push(row);
        self.held_back = true;
    }

    /// Notes that a large or oversize read is complete.
    pub(super) fn go_on(&mut self) {
        self.held_back = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_read_come_one_by_one_and_wait_where_there_is_no_room() {
        let mut retries = Retries::default();
        assert!(!retries.can_go_on());
        let rows = PartRows {
            part: 7,
            group: 1,
            first_entry: 10,
            entries: 3,
        };
        retries.add(rows);
        let row = retries.next().unwrap();
        assert_eq!((row.part, row.group, row.entries), (7, 1, 1));
        retries.hold_back(row);
        assert!(!retries.can_go_on() && !retries.is_empty());
        assert!(retries.next().is_none());
        retries.go_on();
        assert!(retries.can_go_on());
        let rest = std::iter::from_fn(|| retries.next());
        let mut entries: Vec<u32> = rest.map(|row| row.first_entry).collect();
        entries.sort_unstable();
        assert_eq!(entries, [10, 11, 12]);
        assert!(retries.is_empty());
    }
}
