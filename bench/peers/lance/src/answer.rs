//! The rows that Lance returns, in its version of Arrow: touched as they are, and converted for
//! the checksum.

use arrow_array::{Array as _, RecordBatch};
use arrow_data::ArrayData;
use arrow_ipc::writer::StreamWriter;
use ringtake_bench::{Answer, Error, RowsChecksum};

pub(crate) struct LanceRows(pub(crate) RecordBatch);

impl Answer for LanceRows {
    fn rows(&self) -> usize {
        self.0.num_rows()
    }

    fn touch(&self) -> u64 {
        let columns = self.0.columns().iter();
        columns
            .map(|column| touch(&column.to_data(), self.0.num_rows()))
            .fold(0, u64::wrapping_add)
    }

    fn add_to(&self, checksum: &mut RowsChecksum, row_ids: &[u64]) -> Result<(), Error> {
        let mut stream = Vec::new();
        StreamWriter::try_new(&mut stream, &self.0.schema())
            .and_then(|mut writer| {
                writer.write(&self.0)?;
                writer.finish()
            })
            .map_err(Error::subject)?;
        let reader = arrow::ipc::reader::StreamReader::try_new(stream.as_slice(), None)
            .map_err(Error::subject)?;
        for batch in reader {
            batch.map_err(Error::subject)?.add_to(checksum, row_ids)?;
        }
        Ok(())
    }
}

/// One byte of each row, as the bench does for its own version of Arrow.
fn touch(data: &ArrayData, rows: usize) -> u64 {
    if let Some(child) = data.child_data().first() {
        return touch(child, rows);
    }
    let Some(buffer) = data.buffers().last() else {
        return 0;
    };
    let bytes = buffer.as_slice();
    let step = (bytes.len() / rows.max(1)).max(1);
    let touched = bytes.iter().step_by(step);
    touched
        .map(|byte| u64::from(*byte))
        .fold(0, u64::wrapping_add)
}
