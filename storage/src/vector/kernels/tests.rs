//! Every set of loops that this processor runs, the plain one too, against the definitions.

use half::f16;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{BLOCK_ROWS, CODEBOOK_ENTRIES, Kernels, pack_codes};
use crate::vector::Element;

/// Rounding that is allowed, as a share of the sum of the terms' magnitudes.
const TOLERANCE: f64 = 1e-5;

/// A row somewhere in a buffer, beside a query.
#[derive(Debug, Clone)]
struct Pair {
    element: Element,
    query: Vec<f32>,
    values: Vec<f32>,
    buffer: Vec<u8>,
    row_start: usize,
}

impl Pair {
    fn row(&self) -> &[u8] {
        &self.buffer[self.row_start..][..self.query.len() * self.element.bytes()]
    }

    fn terms(&self, term: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let pairs = self.query.iter().zip(&self.values);
        pairs
            .map(|(q, r)| term(f64::from(*q), f64::from(*r)))
            .collect()
    }
}

/// The bytes of an element made from any bits, and its value.
fn stored(element: Element, bits: u32) -> (Vec<u8>, f32) {
    match element {
        Element::F32 => {
            let value = (bits as i32 as f32) / 2_f32.powi(25);
            (value.to_le_bytes().to_vec(), value)
        }
        Element::F16 => {
            // The highest exponent is of infinities and of what is no number.
            let bits = bits as u16;
            let finite = if bits & 0x7c00 == 0x7c00 {
                bits & !0x4000
            } else {
                bits
            };
            let value = f16::from_bits(finite);
            (value.to_le_bytes().to_vec(), value.to_f32())
        }
        Element::I8 => (vec![bits as u8], f32::from(bits as u8 as i8)),
        Element::U8 => (vec![bits as u8], f32::from(bits as u8)),
    }
}

fn elements() -> impl Strategy<Value = Element> {
    prop_oneof![
        Just(Element::F32),
        Just(Element::F16),
        Just(Element::I8),
        Just(Element::U8)
    ]
}

fn pairs() -> impl Strategy<Value = Pair> {
    (
        elements(),
        vec((-100.0_f32..100.0, any::<u32>()), 0..300),
        0_usize..64,
    )
        .prop_map(|(element, numbers, row_start)| {
            let mut buffer = vec![0xff; row_start];
            let mut query = Vec::new();
            let mut values = Vec::new();
            for (q, bits) in numbers {
                let (bytes, value) = stored(element, bits);
                query.push(q);
                values.push(value);
                buffer.extend(bytes);
            }
            // What lies behind a row must not count.
            buffer.extend([0xff; 64]);
            Pair {
                element,
                query,
                values,
                buffer,
                row_start,
            }
        })
}

#[track_caller]
fn assert_sum(kernels: Kernels, found: f32, terms: &[f64]) {
    let sum: f64 = terms.iter().sum();
    let magnitudes: f64 = terms.iter().map(|term| term.abs()).sum();
    assert!(
        (f64::from(found) - sum).abs() <= TOLERANCE * magnitudes,
        "{kernels:?} found {found} for {sum}"
    );
}

proptest! {
    #[test]
    fn distances_and_products_are_as_defined(pair in pairs()) {
        for kernels in Kernels::all_supported() {
            let (element, query, row) = (pair.element, &pair.query, pair.row());
            let squares = pair.terms(|q, r| (q - r) * (q - r));
            let products = pair.terms(|q, r| q * r);
            assert_sum(kernels, kernels.l2_squared(element, query, row), &squares);
            assert_sum(kernels, kernels.dot(element, query, row), &products);
            let (dot, norm) = kernels.dot_and_norm(element, query, row);
            assert_sum(kernels, dot, &products);
            assert_sum(kernels, norm, &pair.terms(|_, r| r * r));
        }
    }

    #[test]
    fn widened_rows_are_the_values(pair in pairs()) {
        for kernels in Kernels::all_supported() {
            // What lies behind the row's place must stay.
            let mut out = vec![f32::NAN; pair.query.len() + 1];
            let (place, behind) = out.split_at_mut(pair.query.len());
            kernels.widen(pair.element, pair.row(), place);
            prop_assert_eq!(bits(place), bits(&pair.values), "{:?}", kernels);
            prop_assert!(behind[0].is_nan());
        }
    }

    #[test]
    fn products_of_rows_with_rows_are_as_defined(
        dims in 1_usize..80,
        (rows_len, others_len) in (0_usize..12, 0_usize..12),
        numbers in vec(-100.0_f32..100.0, 24 * 80),
    ) {
        let (rows, others) = numbers.split_at(rows_len * dims);
        assert_dots(dims, rows, &others[..others_len * dims]);
    }

    #[test]
    fn distances_to_a_codebook_are_as_defined(
        numbers in vec((-100.0_f32..100.0, vec(-100.0_f32..100.0, CODEBOOK_ENTRIES)), 0..20),
    ) {
        let sub: Vec<f32> = numbers.iter().map(|(value, _)| *value).collect();
        let codebook: Vec<f32> = numbers.iter().flat_map(|(_, entries)| entries.clone()).collect();
        for kernels in Kernels::all_supported() {
            let mut distances = [f32::NAN; CODEBOOK_ENTRIES];
            let mut products = [f32::NAN; CODEBOOK_ENTRIES];
            kernels.l2_squared_to_16(&sub, &codebook, &mut distances);
            kernels.dot_with_16(&sub, &codebook, &mut products);
            for c in 0..CODEBOOK_ENTRIES {
                let pairs = numbers.iter().map(|(q, r)| (f64::from(*q), f64::from(r[c])));
                let squares: Vec<f64> = pairs.clone().map(|(q, r)| (q - r) * (q - r)).collect();
                assert_sum(kernels, distances[c], &squares);
                assert_sum(kernels, products[c], &pairs.map(|(q, r)| q * r).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn tables_of_all_pieces_are_those_of_each(
        widths in vec(1_usize..20, 1..40),
        seed in vec(-100.0_f32..100.0, 40),
    ) {
        let ends: Vec<u32> = widths
            .iter()
            .scan(0, |end, width| {
                *end += *width as u32;
                Some(*end)
            })
            .collect();
        let dims = *ends.last().unwrap() as usize;
        let vector: Vec<f32> = (0..dims).map(|i| seed[i % 40] + (i / 40) as f32).collect();
        let codebooks: Vec<f32> =
            (0..dims * CODEBOOK_ENTRIES).map(|i| seed[i % 37] - seed[i % 11]).collect();
        for kernels in Kernels::all_supported() {
            let mut tables = vec![0.0; ends.len() * CODEBOOK_ENTRIES];
            kernels.l2_squared_tables(&ends, &vector, &codebooks, &mut tables);
            let mut from = 0;
            for (&end, table) in ends.iter().zip(tables.chunks(CODEBOOK_ENTRIES)) {
                let range = from..end as usize;
                from = range.end;
                let codebook = &codebooks[range.start * CODEBOOK_ENTRIES..range.end * CODEBOOK_ENTRIES];
                let mut alone = [0.0; CODEBOOK_ENTRIES];
                kernels.l2_squared_to_16(&vector[range], codebook, &mut alone);
                prop_assert_eq!(bits(table), bits(&alone), "{:?}", kernels);
            }
        }
    }

    #[test]
    fn rounded_tables_stand_for_what_they_were_made_from(
        tables in vec(prop_oneof![Just(7.0_f32), -1e6_f32..1e6, -1.0_f32..1.0], 1..300),
        scale in prop_oneof![3 => Just(1.0_f32), 1 => Just(1e-30), 1 => Just(1e-38), 1 => Just(1e31)],
    ) {
        let whole = tables.len().next_multiple_of(CODEBOOK_ENTRIES);
        let tables: Vec<f32> = tables.iter().map(|x| x * scale).cycle().take(whole).collect();
        let mut plain = vec![0; whole];
        let (bias, step) = Kernels::all_supported()[0].round_tables(&tables, &mut plain);
        let mut sum_max = 0;
        for (table, bytes) in tables.chunks(CODEBOOK_ENTRIES).zip(plain.chunks(CODEBOOK_ENTRIES)) {
            let least = table.iter().copied().fold(f32::INFINITY, f32::min);
            sum_max += u32::from(*bytes.iter().max().unwrap());
            for (x, byte) in table.iter().zip(bytes) {
                let apart = (x - least - step * f32::from(*byte)).abs();
                prop_assert!(apart <= step * 0.501, "{} {} {}", x, byte, step);
            }
        }
        prop_assert!(sum_max <= u32::from(u16::MAX));
        for kernels in Kernels::all_supported() {
            let mut bytes = vec![1; whole];
            let found = kernels.round_tables(&tables, &mut bytes);
            prop_assert_eq!(bits(&[found.0, found.1]), bits(&[bias, step]), "{:?}", kernels);
            prop_assert_eq!(&bytes, &plain, "{:?}", kernels);
        }
    }

    #[test]
    fn scans_add_the_entries_of_the_codes(scan in scans()) {
        for kernels in Kernels::all_supported() {
            let mut sums = vec![0xabcd; scan.rows.len().next_multiple_of(BLOCK_ROWS)];
            kernels.scan(scan.m, scan.tables(), &scan.codes(), &mut sums);
            prop_assert_eq!(&sums[..scan.rows.len()], scan.sums(), "{:?}", kernels);
            let padding: u64 = scan.tables().iter().step_by(CODEBOOK_ENTRIES).map(|e| u64::from(*e)).sum();
            prop_assert!(sums[scan.rows.len()..].iter().all(|sum| u64::from(*sum) == padding));
        }
    }

    #[test]
    fn scans_find_the_rows_below_a_sum(scan in scans(), which in any::<prop::sample::Index>()) {
        let sums = scan.sums();
        let limits = [0, 1, u16::MAX, which.get(&[&sums[..], &[700]].concat()).saturating_add(1)];
        for kernels in Kernels::all_supported() {
            for below in limits {
                let mut found = vec![(7, 7)];
                kernels.scan_below(
                    scan.m, scan.tables(), &scan.codes(), scan.rows.len(), below, &mut found,
                );
                let places = (0_u32..).zip(sums.iter().copied());
                let expected = [(7, 7)].into_iter().chain(places.filter(|(_, sum)| *sum < below));
                prop_assert_eq!(found, expected.collect::<Vec<_>>(), "{:?}", kernels);
            }
        }
    }

    #[test]
    fn packed_codes_are_where_the_scan_looks(scan in scans()) {
        let codes = scan.codes();
        prop_assert_eq!(codes.len(), scan.rows.len().div_ceil(BLOCK_ROWS) * scan.m * 16);
        for place in 0..scan.rows.len().next_multiple_of(BLOCK_ROWS) {
            for sub in 0..scan.m {
                let byte = codes[(place / 32 * scan.m + sub) * 16 + place % 16];
                let code = if place % 32 < 16 { byte & 0xf } else { byte >> 4 };
                prop_assert_eq!(code, scan.rows.get(place).map_or(0, |row| row[sub]));
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn assert_dots(dims: usize, rows: &[f32], others: &[f32]) {
    for kernels in Kernels::all_supported() {
        let (rows, others) = (rows.chunks_exact(dims), others.chunks_exact(dims));
        let mut out = vec![f32::NAN; rows.len() * others.len()];
        kernels.dots(
            dims,
            &rows.clone().collect::<Vec<_>>().concat(),
            &others.clone().collect::<Vec<_>>().concat(),
            &mut out,
        );
        let pairs = rows.flat_map(|row| others.clone().map(move |other| (row, other)));
        for (found, (row, other)) in out.into_iter().zip(pairs) {
            let products = row
                .iter()
                .zip(other)
                .map(|(a, b)| f64::from(*a) * f64::from(*b));
            assert_sum(kernels, found, &products.collect::<Vec<_>>());
        }
    }
}

/// Tables and the codes of some rows, one code a byte.
#[derive(Debug, Clone)]
struct Scan {
    m: usize,
    /// With bytes in front, so that they lie at any address.
    tables_at: (usize, Vec<u8>),
    rows: Vec<Vec<u8>>,
}

impl Scan {
    fn tables(&self) -> &[u8] {
        &self.tables_at.1[self.tables_at.0..]
    }

    fn codes(&self) -> Vec<u8> {
        let pack = |row: &Vec<u8>| {
            row.chunks(2)
                .map(|pair| pair[0] | pair.get(1).map_or(0, |code| code << 4))
                .collect()
        };
        let row_major: Vec<Vec<u8>> = self.rows.iter().map(pack).collect();
        let mut codes = Vec::new();
        pack_codes(self.m, row_major.iter().map(Vec::as_slice), &mut codes);
        codes
    }

    fn sums(&self) -> Vec<u16> {
        let entry = |(sub, code): (usize, &u8)| {
            u64::from(self.tables()[sub * CODEBOOK_ENTRIES + usize::from(*code)])
        };
        let sums = self
            .rows
            .iter()
            .map(|row| row.iter().enumerate().map(entry).sum::<u64>());
        sums.map(|sum| u16::try_from(sum).unwrap_or(u16::MAX))
            .collect()
    }
}

fn scans() -> impl Strategy<Value = Scan> {
    // Of many codes the entries are small, or all sums would be the largest there is.
    let few = (1_usize..130, 0_usize..70, Just(u8::MAX));
    let many = (250_usize..600, 0_usize..40, Just(64_u8));
    let sizes = prop_oneof![3 => few, 1 => many];
    (sizes, 0_usize..64).prop_flat_map(|((m, rows, entry_max), tables_start)| {
        let tables = vec(0..=entry_max, tables_start + m * CODEBOOK_ENTRIES);
        (tables, vec(vec(0_u8..16, m), rows)).prop_map(move |(tables, rows)| Scan {
            m,
            tables_at: (tables_start, tables),
            rows,
        })
    })
}

#[test]
fn every_half_is_widened_to_its_value() {
    // An interpreter has time for some of them, of all exponents.
    let step = if cfg!(miri) { 509 } else { 1 };
    let bits = (0..=u16::MAX).step_by(step);
    let halves: Vec<f16> = bits.map(f16::from_bits).collect();
    let row: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    for kernels in Kernels::all_supported() {
        let mut out = vec![0.0; halves.len()];
        kernels.widen(Element::F16, &row, &mut out);
        for (half, value) in halves.iter().zip(out) {
            let same =
                half.is_nan() && value.is_nan() || half.to_f32().to_bits() == value.to_bits();
            assert!(same, "{kernels:?} makes {value} of {half}");
        }
    }
}

#[test]
fn sums_that_exceed_their_type_stop_at_its_end() {
    for (m, entry) in [(256, 255), (257, 255), (258, 255), (300, 255), (600, 254)] {
        let scan = Scan {
            m,
            tables_at: (0, vec![entry; m * CODEBOOK_ENTRIES]),
            rows: vec![vec![3; m]; 33],
        };
        for kernels in Kernels::all_supported() {
            let mut sums = [0; 64];
            kernels.scan(m, scan.tables(), &scan.codes(), &mut sums);
            assert_eq!(sums[..33], scan.sums(), "{kernels:?} with {m}");
            let mut found = Vec::new();
            kernels.scan_below(m, scan.tables(), &scan.codes(), 33, u16::MAX, &mut found);
            assert_eq!(
                found.len(),
                if m == 256 { 33 } else { 0 },
                "{kernels:?} with {m}"
            );
        }
    }
}

#[test]
fn products_with_more_rows_than_a_panel_holds_are_as_defined() {
    let dims = 3001;
    let number = |i: usize| (i * 7919 % 1000) as f32 - 500.0;
    let others: Vec<f32> = (0..51 * dims).map(number).collect();
    assert_dots(dims, &others[dims..6 * dims], &others);
}

#[test]
fn nothing_is_scanned_without_sub_quantisers() {
    for kernels in Kernels::all_supported() {
        let mut sums = [1; BLOCK_ROWS];
        kernels.scan(0, &[], &[], &mut sums);
        assert_eq!(sums, [0; BLOCK_ROWS]);
        let mut found = Vec::new();
        kernels.scan_below(0, &[], &[], 2, 1, &mut found);
        assert_eq!(found, [(0, 0), (1, 0)]);
    }
}

#[test]
fn the_plain_set_is_first_and_the_best_is_last() {
    let supported = Kernels::all_supported();
    assert_eq!(supported[0].name(), "scalar");
    assert_eq!(
        supported[supported.len() - 1].name(),
        Kernels::best().name()
    );
}

#[test]
#[should_panic = "as many elements"]
fn a_row_of_another_length_is_refused() {
    Kernels::best().dot(Element::F16, &[0.0; 4], &[0; 4]);
}

#[test]
#[should_panic = "codes for each row"]
fn rows_without_codes_are_refused() {
    Kernels::best().scan_below(1, &[0; 16], &[0; 16], 33, 9, &mut Vec::new());
}

#[test]
#[should_panic = "a table for each"]
fn a_number_of_sub_quantisers_beyond_memory_is_refused() {
    Kernels::best().scan(usize::MAX / 16 + 1, &[], &[], &mut []);
}

/// The other tests of this file run every set that the processor has.
#[test]
fn sets_that_this_processor_lacks_are_reported_as_skipped() {
    let known: &[&str] = if cfg!(target_arch = "x86_64") {
        &["scalar", "avx2", "avx512"]
    } else if cfg!(target_arch = "aarch64") {
        &["scalar", "neon"]
    } else {
        &["scalar"]
    };
    let supported: Vec<_> = Kernels::all_supported().iter().map(Kernels::name).collect();
    assert_eq!(supported[0], "scalar");
    for lacking in known.iter().filter(|name| !supported.contains(name)) {
        let reason = format!("this processor has no {lacking}");
        ringtake_testing::skip("vector::kernels::tests", reason);
    }
}
