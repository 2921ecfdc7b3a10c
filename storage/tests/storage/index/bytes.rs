//! The bytes of an index file, and changes to them with checksums that match.

use serde_json::Value;
use twox_hash::XxHash3_64;

pub(super) fn xxh3(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(super) fn footer_at(bytes: &[u8]) -> usize {
    bytes.len() - 32 - u64_at(bytes, bytes.len() - 32) as usize
}

pub(super) fn footer(bytes: &[u8]) -> Value {
    serde_json::from_slice(&bytes[footer_at(bytes)..bytes.len() - 32]).unwrap()
}

/// The file with another footer, and a trailer that matches it.
pub(super) fn with_footer(bytes: &[u8], footer: &Value) -> Vec<u8> {
    let footer = serde_json::to_vec(footer).unwrap();
    let mut file = bytes[..footer_at(bytes)].to_vec();
    file.extend(&footer);
    let file_bytes = file.len() as u64 + 32;
    let mut trailer = [footer.len() as u64, xxh3(&footer), file_bytes]
        .map(u64::to_le_bytes)
        .concat();
    trailer.extend(xxh3(&trailer).to_le_bytes());
    file.extend(trailer);
    file
}

/// The file with `change` made to section `name`, and its checksum to match.
pub(super) fn with_section(bytes: &[u8], name: &str, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut file = bytes.to_vec();
    let mut footer = footer(bytes);
    let section = &mut footer[name];
    let range = section["offset"].as_u64().unwrap() as usize;
    let range = range..range + section["bytes"].as_u64().unwrap() as usize;
    change(&mut file[range.clone()]);
    section["xxh3"] = xxh3(&file[range]).into();
    with_footer(&file, &footer)
}

/// The file with `change` made to its header, and its hash to match.
pub(super) fn with_header(bytes: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut file = bytes.to_vec();
    change(&mut file[..56]);
    let hash = xxh3(&file[..56]);
    file[56..64].copy_from_slice(&hash.to_le_bytes());
    file
}
