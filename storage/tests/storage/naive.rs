//! A slow reader written from `FORMAT.md` alone: it shares no code with the crate, checks every
//! sentence of the format it comes across, and panics at the first that does not hold.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::reader::StreamReader;
use serde_json::Value;
use twox_hash::XxHash3_64;

/// A dataset in memory.
pub(crate) struct Dataset {
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Vec<ArrayRef>,
    pub(crate) rows: u64,
    /// The layout as it is in the manifest.
    pub(crate) layout: Value,
}

struct DataFile {
    bytes: Vec<u8>,
    /// Which bytes are header, record or value.
    used: Vec<bool>,
}

impl DataFile {
    fn take(&mut self, at: u64, bytes: u64) -> Vec<u8> {
        let range = at as usize..(at + bytes) as usize;
        assert!(
            !self.used[range.clone()].contains(&true),
            "bytes used twice at {at}"
        );
        self.used[range.clone()].fill(true);
        self.bytes[range].to_vec()
    }

    fn check_rest_is_zero(&self) {
        for (at, (&byte, &used)) in self.bytes.iter().zip(&self.used).enumerate() {
            assert!(
                used || byte == 0,
                "byte {at} belongs to nothing and is {byte}"
            );
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn xxh3(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

fn hex_u64(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap(), 16).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// The bytes of one value and whether each is null.
struct Column {
    values: Vec<Vec<u8>>,
}

struct Reader {
    layout: Value,
    dataset: Vec<u8>,
    generation: u64,
    rows: u64,
    block_rows: u64,
    dirs: Vec<PathBuf>,
    tables: HashMap<(String, u64), Vec<u8>>,
    schema: SchemaRef,
}

/// Reads everything there is.
pub(crate) fn read(path: &Path) -> Dataset {
    let reader = Reader::open(path);
    let mut columns: Vec<Option<Column>> = reader.schema.fields().iter().map(|_| None).collect();
    for (ordinal, group) in reader.layout["groups"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        match group["kind"].as_str().unwrap() {
            "fixed" => reader.read_fixed(ordinal as u64, group, &mut columns),
            "variable" => {
                let column = number(&group["column"]) as usize;
                columns[column] = Some(reader.read_variable(ordinal as u64, group));
            }
            other => panic!("a group of kind {other}"),
        }
    }
    let arrays = columns
        .into_iter()
        .enumerate()
        .map(|(column, values)| reader.array(column, values.unwrap()))
        .collect();
    Dataset {
        schema: reader.schema.clone(),
        columns: arrays,
        rows: reader.rows,
        layout: reader.layout,
    }
}

impl Reader {
    fn open(path: &Path) -> Reader {
        let bytes = fs::read(path.join("MANIFEST")).unwrap();
        assert_eq!(&bytes[..8], b"RINGTAKE");
        assert_eq!(u32_at(&bytes, 8), 1);
        assert_eq!(u32_at(&bytes, 12), 0);
        let (layout_bytes, schema_bytes) = (u64_at(&bytes, 16), u64_at(&bytes, 24));
        assert_eq!(bytes.len() as u64, 64 + layout_bytes + schema_bytes);
        assert_eq!(u64_at(&bytes, 32), xxh3(&bytes[64..]));
        assert_eq!(bytes[40..56], [0; 16]);
        assert_eq!(u64_at(&bytes, 56), xxh3(&bytes[..56]));
        let (layout, schema) = bytes[64..].split_at(layout_bytes as usize);
        let layout: Value = serde_json::from_slice(layout).unwrap();
        let dirs: Vec<PathBuf> = layout["dirs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|dir| path.join(dir.as_str().unwrap()))
            .collect();
        let mut tables = HashMap::new();
        for table in layout["tables"].as_array().unwrap() {
            let (kind, of) = (table["kind"].as_str().unwrap(), number(&table["of"]));
            let owner = match kind {
                "sums" | "starts" | "ends" => "g",
                "valid" | "items" => "c",
                _ => panic!("a table of kind {kind}"),
            };
            let bytes = fs::read(dirs[0].join(format!("{owner}{of}.{kind}"))).unwrap();
            assert_eq!(bytes.len() as u64, number(&table["bytes"]));
            assert_eq!(xxh3(&bytes), hex_u64(&table["xxh3"]));
            tables.insert((kind.to_owned(), of), bytes);
        }
        let dataset = layout["dataset"].as_str().unwrap();
        Reader {
            dataset: (0..16)
                .map(|at| u8::from_str_radix(&dataset[2 * at..2 * at + 2], 16).unwrap())
                .collect(),
            generation: hex_u64(&layout["generation"]),
            rows: number(&layout["rows"]),
            block_rows: number(&layout["block_rows"]),
            dirs,
            tables,
            schema: StreamReader::try_new(schema, None).unwrap().schema(),
            layout,
        }
    }

    fn table(&self, kind: &str, of: u64) -> Option<&Vec<u8>> {
        self.tables.get(&(kind.to_owned(), of))
    }

    fn open_files(&self, ordinal: u64, group: &Value, extension: &str) -> Vec<DataFile> {
        let open = |(place, dir): (usize, &PathBuf)| {
            let bytes = fs::read(dir.join(format!("g{ordinal}.{extension}"))).unwrap();
            assert_eq!(bytes.len() as u64, number(&group["file_bytes"][place]));
            assert_eq!(bytes.len() % 4096, 0);
            let mut file = DataFile {
                used: vec![false; bytes.len()],
                bytes,
            };
            let header = file.take(0, 4096);
            assert_eq!(&header[..8], b"RTGROUP1");
            assert_eq!(u64::from(u32_at(&header, 8)), ordinal);
            assert_eq!(u32_at(&header, 12) as usize, place);
            assert_eq!(header[16..32], self.dataset);
            assert_eq!(u64_at(&header, 32), self.generation);
            assert_eq!(header[40..56], [0; 16]);
            assert_eq!(u64_at(&header, 56), xxh3(&header[..56]));
            assert!(header[64..].iter().all(|&byte| byte == 0));
            file
        };
        self.dirs.iter().enumerate().map(open).collect()
    }

    fn checksum(&self, group: u64, row: u64, bytes: &[u8]) -> u32 {
        let mut key = self.dataset.clone();
        key.extend(self.generation.to_le_bytes());
        key.extend((group as u32).to_le_bytes());
        let position = xxh3(&key) ^ (row + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let sum = xxh3(bytes).wrapping_add(position);
        (sum ^ (sum >> 32)) as u32
    }

    fn read_fixed(&self, ordinal: u64, group: &Value, columns: &mut [Option<Column>]) {
        let record_bytes = number(&group["record_bytes"]);
        let unit_bytes = number(&group["unit_bytes"]);
        let rows_per_unit = number(&group["rows_per_unit"]);
        let inline = group["checksum"] == "inline";
        let block_bytes =
            (self.block_rows.div_ceil(rows_per_unit) * unit_bytes).div_ceil(4096) * 4096;
        let mut files = self.open_files(ordinal, group, "rows");
        let mut ends = vec![4096_u64; files.len()];
        let members: Vec<usize> = group["columns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| number(column) as usize)
            .collect();
        for &member in &members {
            columns[member] = Some(Column { values: Vec::new() });
        }
        for row in 0..self.rows {
            let (block, r) = (row / self.block_rows, row % self.block_rows);
            let dir = (block % files.len() as u64) as usize;
            let k = block / files.len() as u64;
            let at = 4096
                + k * block_bytes
                + (r / rows_per_unit) * unit_bytes
                + (r % rows_per_unit) * record_bytes;
            ends[dir] = ends[dir].max((at + record_bytes).div_ceil(4096) * 4096);
            let record = files[dir].take(at, record_bytes);
            let (payload, sum) = if inline {
                let (payload, sum) = record.split_at(record.len() - 4);
                (payload, u32_at(sum, 0))
            } else {
                let sums = self.table("sums", ordinal).unwrap();
                (&record[..], u32_at(sums, 4 * row as usize))
            };
            assert_eq!(
                sum,
                self.checksum(ordinal, row, payload),
                "checksum of row {row}"
            );
            let mut rest = payload;
            for &member in &members {
                let width = width(self.schema.field(member).data_type()).unwrap();
                let (value, others) = rest.split_at(width);
                rest = others;
                columns[member]
                    .as_mut()
                    .unwrap()
                    .values
                    .push(value.to_vec());
            }
            assert!(rest.is_empty());
        }
        for (file, end) in files.iter().zip(ends) {
            assert_eq!(file.bytes.len() as u64, end, "the last block's length");
            file.check_rest_is_zero();
        }
    }

    fn read_variable(&self, ordinal: u64, group: &Value) -> Column {
        let mut files = self.open_files(ordinal, group, "values");
        let starts = self.table("starts", ordinal).unwrap();
        let ends = self.table("ends", ordinal).unwrap();
        let mut values = Vec::new();
        for row in 0..self.rows {
            let (block, r) = (row / self.block_rows, row % self.block_rows);
            let dir = (block % files.len() as u64) as usize;
            let start = u64_at(starts, 8 * block as usize);
            assert_eq!(start % 4096, 0);
            let last = match r {
                0 => 0,
                _ => u32_at(ends, 4 * (row as usize - 1)),
            };
            let end = u32_at(ends, 4 * row as usize);
            let stored = files[dir].take(start + u64::from(last), u64::from(end - last));
            if stored.is_empty() {
                values.push(Vec::new());
                continue;
            }
            let (value, sum) = stored.split_at(stored.len() - 4);
            assert!(!value.is_empty());
            assert_eq!(
                u32_at(sum, 0),
                self.checksum(ordinal, row, value),
                "row {row}"
            );
            values.push(value.to_vec());
        }
        for file in &files {
            file.check_rest_is_zero();
        }
        Column { values }
    }

    fn bitmap(&self, kind: &str, column: usize, bits: usize) -> Option<Vec<bool>> {
        let table = self.table(kind, column as u64)?;
        assert_eq!(table.len(), bits.div_ceil(8));
        let bit = |at: usize| table[at / 8] >> (at % 8) & 1 == 1;
        assert!(
            (bits..table.len() * 8).all(|at| !bit(at)),
            "bits past the last are zero"
        );
        let bits: Vec<bool> = (0..bits).map(bit).collect();
        assert!(bits.contains(&false), "a bitmap without a null is absent");
        Some(bits)
    }

    fn array(&self, column: usize, stored: Column) -> ArrayRef {
        let data_type = self.schema.field(column).data_type();
        let rows = self.rows as usize;
        assert_eq!(stored.values.len(), rows);
        let valid = self.bitmap("valid", column, rows);
        for (row, value) in stored.values.iter().enumerate() {
            if valid.as_ref().is_some_and(|valid| !valid[row]) {
                assert!(
                    value.iter().all(|&byte| byte == 0),
                    "null row {row} holds bytes"
                );
            }
        }
        let nulls = valid.clone().map(NullBuffer::from);
        let builder = ArrayData::builder(data_type.clone()).len(rows).nulls(nulls);
        let builder = match data_type {
            DataType::Boolean => {
                let bits: Vec<bool> = stored
                    .values
                    .iter()
                    .map(|value| match value[..] {
                        [0] => false,
                        [1] => true,
                        _ => panic!("a boolean of {value:?}"),
                    })
                    .collect();
                builder.add_buffer(Buffer::from_iter(bits))
            }
            DataType::Utf8 | DataType::Binary => {
                let offsets: Vec<i32> = ends(&stored.values).map(|end| end as i32).collect();
                builder
                    .add_buffer(Buffer::from_vec(offsets))
                    .add_buffer(Buffer::from_vec(stored.values.concat()))
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                let offsets: Vec<i64> = ends(&stored.values).map(|end| end as i64).collect();
                builder
                    .add_buffer(Buffer::from_vec(offsets))
                    .add_buffer(Buffer::from_vec(stored.values.concat()))
            }
            DataType::FixedSizeList(item, per_value) => {
                let per_value = *per_value as usize;
                let items = self.bitmap("items", column, rows * per_value);
                self.check_items(
                    &stored.values,
                    valid.as_deref(),
                    items.as_deref(),
                    per_value,
                );
                let children = ArrayData::builder(item.data_type().clone())
                    .len(rows * per_value)
                    .nulls(items.map(NullBuffer::from))
                    .add_buffer(Buffer::from_vec(stored.values.concat()))
                    .align_buffers(true)
                    .build()
                    .unwrap();
                builder.add_child_data(children)
            }
            _ => builder.add_buffer(Buffer::from_vec(stored.values.concat())),
        };
        make_array(builder.align_buffers(true).build().unwrap())
    }

    fn check_items(
        &self,
        values: &[Vec<u8>],
        valid: Option<&[bool]>,
        items: Option<&[bool]>,
        per_value: usize,
    ) {
        let Some(items) = items else { return };
        for (row, (value, items)) in values.iter().zip(items.chunks(per_value)).enumerate() {
            if valid.is_some_and(|valid| !valid[row]) {
                assert!(!items.contains(&false), "items of null list {row} are ones");
            }
            let item_bytes = value.len() / per_value;
            for (item, &valid) in value.chunks(item_bytes).zip(items) {
                assert!(
                    valid || item.iter().all(|&byte| byte == 0),
                    "null item in row {row}"
                );
            }
        }
    }
}

fn ends(values: &[Vec<u8>]) -> impl Iterator<Item = usize> {
    let mut end = 0;
    std::iter::once(0).chain(values.iter().map(move |value| {
        end += value.len();
        end
    }))
}

/// Bytes of a fixed-width value.
fn width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Boolean => Some(1),
        DataType::FixedSizeBinary(width) => Some(*width as usize),
        DataType::FixedSizeList(item, items) => Some(width(item.data_type())? * *items as usize),
        other => other.primitive_width(),
    }
}
