//! The file of flat rows that the two plain loops read: the layout's header first, then rows
//! that cross no page unless they are longer than one.
//!
//! A row that shared a page with another would be read by its neighbour's query, and a cold run
//! would not be cold.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use ringtake_peers_harness::{Error, Result, RowLayout, Source};

pub(crate) const STORAGE: &str = "flat";
pub(crate) const ROWS: &str = "rows";
const SCHEMA: &str = "schema.arrow";
const PAGE_BYTES: usize = 4096;

/// Bytes from one row to the next: whole pages.
pub(crate) fn stride_bytes(layout: &RowLayout) -> usize {
    layout.row_bytes().next_multiple_of(PAGE_BYTES)
}

pub(crate) fn prepare(source: &Source, path: &Path) -> Result<()> {
    let layout = RowLayout::of(&source.schema())?;
    fs::create_dir(path).map_err(Error::io("make", path))?;
    write_schema(path, &source.schema())?;
    let rows_path = path.join(ROWS);
    let write = Error::io("write", &rows_path);
    let mut file = BufWriter::new(File::create(&rows_path).map_err(Error::io("make", &rows_path))?);
    let padding = vec![0; stride_bytes(&layout) - layout.row_bytes()];
    let mut all = || -> Result<std::io::Result<()>> {
        for batch in source.batches() {
            for row in layout.encode(&batch?.1)?.chunks_exact(layout.row_bytes()) {
                if let Err(error) = file.write_all(row).and_then(|()| file.write_all(&padding)) {
                    return Ok(Err(error));
                }
            }
        }
        Ok(file.flush())
    };
    all()?.map_err(write)
}

/// Keeps the schema beside rows that do not say it.
pub(crate) fn write_schema(dir: &Path, schema: &Schema) -> Result<()> {
    let path = dir.join(SCHEMA);
    let file = File::create(&path).map_err(Error::io("make", &path))?;
    StreamWriter::try_new(file, schema)
        .and_then(|mut writer| writer.finish())
        .map_err(Error::peer("arrow"))
}

/// The layout of the rows in `dir`.
pub(crate) fn layout(dir: &Path) -> Result<Arc<RowLayout>> {
    let path = dir.join(SCHEMA);
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let reader = StreamReader::try_new(file, None).map_err(Error::peer("arrow"))?;
    Ok(Arc::new(RowLayout::of(&reader.schema())?))
}
