//! Validity bitmaps. A bitmap gets a file with its first null, and none if there is no null.

use std::path::PathBuf;

use arrow::buffer::{BooleanBuffer, NullBuffer};

use super::buffered_file::{BufferOptions, BufferedFile};
use crate::Result;

/// A bitmap that is a count of ones until its first zero bit, and a file from then on.
#[derive(Debug)]
pub(super) struct BitmapFile {
    path: PathBuf,
    /// Bits per row.
    bits_per_row: u64,
    /// Bits added so far.
    bits: u64,
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    file: BufferedFile,
    /// Bits that do not fill a word yet, the first in the lowest place; zeros above.
    word: u64,
    word_bits: u32,
}

impl BitmapFile {
    /// An empty bitmap, which is written to `path` if it gets a zero bit.
    pub(super) fn new(path: PathBuf, bits_per_row: u64) -> BitmapFile {
        BitmapFile {
            path,
            bits_per_row,
            bits: 0,
            begun: None,
        }
    }

    /// Adds the bits of `rows` rows: the validity in `nulls`, or ones.
    pub(super) fn put(
        &mut self,
        nulls: Option<&NullBuffer>,
        rows: usize,
        options: &BufferOptions,
    ) -> Result<()> {
        let bits = rows as u64 * self.bits_per_row;
        match nulls.filter(|nulls| nulls.null_count() > 0) {
            Some(nulls) => self.begin(options)?.put(nulls.inner())?,
            None => {
                if let Some(begun) = &mut self.begun {
                    begun.put_ones(bits)?;
                }
            }
        }
        self.bits += bits;
        Ok(())
    }

    /// Completes the bitmap: the file, part of it still buffered; `None` if every bit is one.
    pub(super) fn finish(self) -> Result<Option<BufferedFile>> {
        let Some(mut begun) = self.begun else {
            return Ok(None);
        };
        let bytes = begun.word.to_le_bytes();
        begun
            .file
            .put(&bytes[..begun.word_bits.div_ceil(8) as usize])?;
        Ok(Some(begun.file))
    }

    fn begin(&mut self, options: &BufferOptions) -> Result<&mut Begun> {
        let begun = match self.begun.take() {
            Some(begun) => begun,
            None => {
                let mut begun = Begun {
                    file: BufferedFile::create_table(self.path.clone(), options)?,
                    word: 0,
                    word_bits: 0,
                };
                begun.put_ones(self.bits)?;
                begun
            }
        };
        Ok(self.begun.insert(begun))
    }
}

impl Begun {
    fn put(&mut self, bits: &BooleanBuffer) -> Result<()> {
        let chunks = bits.bit_chunks();
        for chunk in chunks.iter() {
            self.put_word(chunk, 64)?;
        }
        self.put_word(chunks.remainder_bits(), chunks.remainder_len() as u32)
    }

    fn put_ones(&mut self, mut bits: u64) -> Result<()> {
        while bits > 0 {
            if self.word_bits == 0 && bits >= 8 {
                self.file.fill(0xFF, bits / 8)?;
                bits %= 8;
                continue;
            }
            let count = bits.min(u64::from(64 - self.word_bits)) as u32;
            self.put_word(low_ones(count), count)?;
            bits -= u64::from(count);
        }
        Ok(())
    }

    /// Adds the low `count` bits, 0 to 64, of `bits`, whose higher ones are zero.
    fn put_word(&mut self, bits: u64, count: u32) -> Result<()> {
        self.word |= bits << self.word_bits;
        let filled = self.word_bits + count;
        if filled < 64 {
            self.word_bits = filled;
            return Ok(());
        }
        self.file.put(&self.word.to_le_bytes())?;
        self.word = bits.checked_shr(64 - self.word_bits).unwrap_or(0);
        self.word_bits = filled - 64;
        Ok(())
    }
}

fn low_ones(count: u32) -> u64 {
    match count {
        64.. => u64::MAX,
        _ => (1 << count) - 1,
    }
}
