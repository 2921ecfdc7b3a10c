//! Codes of vectors and tables of bytes against what they are said to stand for.

use std::ops::Range;

use proptest::prelude::*;
use ringtake_storage::vector::kernels::Kernels;
use ringtake_storage::vector::quantiser::{
    ENTRIES, Quantiser, are_ends, even_ends, quantise_tables, train, train_errors,
};

use crate::columns::Seeded;

/// A number between -1 and 1.
fn unit(seeded: &mut Seeded) -> f32 {
    seeded.below(2_000_001) as f32 / 1_000_000.0 - 1.0
}

fn units(seeded: &mut Seeded, count: usize) -> Vec<f32> {
    (0..count).map(|_| unit(seeded)).collect()
}

/// Pieces of random widths.
fn random_ends(seeded: &mut Seeded, dims: usize) -> Vec<u32> {
    let mut ends: Vec<u32> = (1..dims as u32).filter(|_| seeded.below(3) == 0).collect();
    ends.push(dims as u32);
    ends
}

fn pieces(ends: &[u32]) -> Vec<Range<usize>> {
    let from = std::iter::once(0).chain(ends.iter().copied());
    from.zip(ends)
        .map(|(from, &end)| from as usize..end as usize)
        .collect()
}

fn random_quantiser(seeded: &mut Seeded, dims: usize) -> Quantiser {
    let ends = random_ends(seeded, dims);
    let codebooks = units(seeded, dims * ENTRIES);
    let errors = std::array::from_fn(|entry| entry as f32 * dims as f32 / 40.0);
    Quantiser::new(dims, None, ends, codebooks, errors)
}

/// Squared distance of a piece of `vector` to `entry` of its codebook.
fn apart(quantiser: &Quantiser, vector: &[f32], piece: &Range<usize>, entry: usize) -> f64 {
    let of = |dim: usize| {
        f64::from(vector[dim]) - f64::from(quantiser.codebooks()[dim * ENTRIES + entry])
    };
    piece.clone().map(|dim| of(dim) * of(dim)).sum()
}

fn nibble(code: &[u8], place: usize) -> usize {
    usize::from(code[place / 2] >> (place % 2 * 4) & 15)
}

/// Largest rounding error of a sum of `terms` terms of this size.
fn rounding(terms: usize, size: f64) -> f64 {
    terms as f64 * size * f64::from(f32::EPSILON) * 4.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_code_stands_for_the_nearest_entry_of_each_piece(seed: u64, dims in 1_usize..80) {
        let seeded = &mut Seeded(seed);
        let quantiser = random_quantiser(seeded, dims);
        for kernels in Kernels::all_supported() {
            let vector = units(seeded, dims);
            let mut code = vec![0xFF; quantiser.code_bytes()];
            quantiser.encode(kernels, &vector, &mut code);
            let mut decoded = vec![0.0; dims];
            quantiser.decode(&code, &mut decoded);
            let mut error = 0.0;
            for (place, piece) in pieces(quantiser.ends()).iter().enumerate() {
                let entry = nibble(&code, place);
                for dim in piece.clone() {
                    prop_assert_eq!(decoded[dim], quantiser.codebooks()[dim * ENTRIES + entry]);
                }
                let chosen = apart(&quantiser, &vector, piece, entry);
                let least = (0..ENTRIES)
                    .map(|entry| apart(&quantiser, &vector, piece, entry))
                    .fold(f64::INFINITY, f64::min);
                prop_assert!(chosen <= least + rounding(piece.len() + 1, 4.0), "{chosen} {least}");
                error += chosen;
            }
            let returned = f64::from(quantiser.error(kernels, &vector));
            prop_assert!((returned - error).abs() <= rounding(dims + 1, 4.0), "{returned} {error}");
            // The last code is the nearest of the errors.
            let places = quantiser.codes();
            prop_assert_eq!(places, quantiser.ends().len() + 1);
            let off = |entry: usize| (f64::from(quantiser.errors()[entry]) - error).abs();
            let least = (0..ENTRIES).map(off).fold(f64::INFINITY, f64::min);
            prop_assert!(off(nibble(&code, places - 1)) <= least + rounding(dims + 1, 8.0));
            if places % 2 == 1 {
                prop_assert_eq!(code[places / 2] >> 4, 0, "half a byte too many is zero");
            }
        }
    }

    #[test]
    fn what_a_code_stands_for_has_itself_as_its_code(seed: u64, dims in 1_usize..40) {
        let seeded = &mut Seeded(seed);
        let quantiser = random_quantiser(seeded, dims);
        let kernels = Kernels::best();
        let places = quantiser.ends().len();
        let entries: Vec<u8> = (0..places).map(|_| seeded.below(16) as u8).collect();
        let mut code = vec![0; quantiser.code_bytes()];
        for (place, entry) in entries.iter().enumerate() {
            code[place / 2] |= entry << (place % 2 * 4);
        }
        let mut vector = vec![0.0; dims];
        quantiser.decode(&code, &mut vector);
        prop_assert_eq!(quantiser.error(kernels, &vector), 0.0);
        let mut again = vec![0; quantiser.code_bytes()];
        quantiser.encode(kernels, &vector, &mut again);
        let mut decoded = vec![0.0; dims];
        quantiser.decode(&again, &mut decoded);
        prop_assert_eq!(decoded, vector);
        prop_assert_eq!(nibble(&again, places), 0, "the least error is none");
    }

    #[test]
    fn tables_give_the_distance_to_what_codes_stand_for(seed: u64, dims in 1_usize..60) {
        let seeded = &mut Seeded(seed);
        let quantiser = random_quantiser(seeded, dims);
        let (query, other) = (units(seeded, dims), units(seeded, dims));
        for kernels in Kernels::all_supported() {
            let mut code = vec![0; quantiser.code_bytes()];
            quantiser.encode(kernels, &other, &mut code);
            let mut decoded = vec![0.0; dims];
            quantiser.decode(&code, &mut decoded);
            let pairs = || query.iter().zip(&decoded).map(|(&a, &b)| (f64::from(a), f64::from(b)));
            let squared: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
            let product: f64 = pairs().map(|(a, b)| a * b).sum();
            let sum = |tables: &[f32]| -> f64 {
                let entries = tables.as_chunks::<ENTRIES>().0.iter().enumerate();
                entries.map(|(place, table)| f64::from(table[nibble(&code, place)])).sum()
            };
            let mut tables = vec![0.0; quantiser.codes() * ENTRIES];
            quantiser.l2_tables(kernels, &query, &mut tables);
            let error = quantiser.errors()[nibble(&code, quantiser.ends().len())];
            let wanted = squared + f64::from(error);
            prop_assert!((sum(&tables) - wanted).abs() <= rounding(dims + 1, 8.0));
            quantiser.dot_tables(kernels, &query, &mut tables);
            prop_assert!((sum(&tables) + product).abs() <= rounding(dims + 1, 2.0));
        }
    }

    #[test]
    fn sums_of_bytes_map_back_and_fit_sixteen_bits(
        seed: u64,
        codes in prop_oneof![1_usize..40, 250_usize..300, Just(4096)],
        scale in -20_i32..20,
        shift in -1000_i32..1000,
    ) {
        let seeded = &mut Seeded(seed);
        let (scale, shift) = ((scale as f32).exp2(), shift as f32);
        let tables: Vec<f32> =
            units(seeded, codes * ENTRIES).iter().map(|x| (x + shift) * scale).collect();
        for kernels in Kernels::all_supported() {
            let mut bytes = vec![0; tables.len()];
            let of = quantise_tables(kernels, &tables, &mut bytes);
            prop_assert!(of.step > 0.0 && of.step.is_finite());
            let most: u32 = bytes
                .as_chunks::<ENTRIES>()
                .0
                .iter()
                .map(|table| u32::from(table.iter().copied().max().unwrap_or(0)))
                .sum();
            prop_assert!(most <= u32::from(u16::MAX), "{most}");
            for _ in 0..8 {
                let entries: Vec<usize> =
                    (0..codes).map(|place| place * ENTRIES + seeded.below(16) as usize).collect();
                let exact: f64 = entries.iter().map(|&at| f64::from(tables[at])).sum();
                let sum: u16 = entries.iter().map(|&at| u16::from(bytes[at])).sum();
                let rounded = f64::from(of.distance(sum));
                // Half a step for each code, and the rounding of floats.
                let size = f64::from((shift.abs() + 1.0) * scale);
                let allowed = f64::from(of.step) * codes as f64 / 2.0 + rounding(codes, size) * 2.0;
                prop_assert!((rounded - exact).abs() <= allowed, "{rounded} {exact} {allowed}");
            }
        }
    }

    #[test]
    fn no_sum_from_below_upwards_is_nearer(
        bias in -1000.0_f32..1000.0,
        step in 0.001_f32..10.0,
        sum: u16,
        above in -2.0_f32..2.0,
    ) {
        let scale = ringtake_storage::vector::quantiser::Scale { bias, step };
        let distance = scale.distance(sum) + above * step;
        let below = scale.below(distance);
        // One step more or less is what rounding may do.
        let slack = step + (bias.abs() + step * f32::from(u16::MAX)) * f32::EPSILON * 4.0;
        if let Some(less) = below.checked_sub(1) {
            prop_assert!(scale.distance(less) < distance + slack);
        }
        if below < u16::MAX {
            prop_assert!(scale.distance(below) >= distance - slack);
        }
    }

    #[test]
    fn even_ends_are_ends(dims in 1_usize..3000, share in 1_usize..3000) {
        let pieces_wanted = share.min(dims);
        let ends = even_ends(dims, pieces_wanted);
        prop_assert_eq!(ends.len(), pieces_wanted);
        prop_assert!(are_ends(&ends, dims));
        let widths: Vec<usize> = pieces(&ends).iter().map(ExactSizeIterator::len).collect();
        let (least, most) = (widths.iter().min().unwrap(), widths.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{widths:?}");
    }

    #[test]
    fn training_makes_errors_no_larger_than_one_mean_would(seed: u64, width in 1_usize..6) {
        let seeded = &mut Seeded(seed);
        let (dims, kernels) = (width + 2, Kernels::best());
        let rows = 40 + seeded.below(200) as usize;
        let vectors = units(seeded, rows * dims);
        // Of the elements in the middle.
        let codebook = train(kernels, dims, 1..1 + width, &vectors);
        let cut: Vec<f32> =
            vectors.chunks(dims).flat_map(|vector| vector[1..1 + width].to_vec()).collect();
        let quantiser =
            Quantiser::new(width, None, vec![width as u32], codebook, [0.0; ENTRIES]);
        let error: f64 =
            cut.chunks(width).map(|row| f64::from(quantiser.error(kernels, row))).sum();
        let mean = |dim: usize| {
            cut.iter().skip(dim).step_by(width).map(|&x| f64::from(x)).sum::<f64>() / rows as f64
        };
        let means: Vec<f64> = (0..width).map(mean).collect();
        let spread: f64 =
            cut.iter().enumerate().map(|(at, &x)| (f64::from(x) - means[at % width]).powi(2)).sum();
        prop_assert!(error < spread * 0.6, "{error} of {spread}");
    }

    #[test]
    fn levels_of_errors_lie_among_them(seed: u64, count in 1_usize..200) {
        let seeded = &mut Seeded(seed);
        let mut errors: Vec<f32> = units(seeded, count).iter().map(|x| x + 1.0).collect();
        let (least, most) = errors
            .iter()
            .fold((f32::INFINITY, 0.0_f32), |(least, most), &x| (least.min(x), most.max(x)));
        let levels = train_errors(Kernels::best(), &mut errors);
        let slack = (most - least) * 0.01 + most * 0.002 + 1e-4;
        for level in levels {
            prop_assert!(level >= least - slack && level <= most + slack, "{level}");
        }
    }
}

#[test]
fn invalid_ends_are_recognised() {
    for (ends, dims) in [(&[8_u32][..], 8), (&[1, 2, 8], 8), (&[1], 1)] {
        assert!(are_ends(ends, dims));
    }
    for (ends, dims) in [
        (&[][..], 8),
        (&[0, 8], 8),
        (&[4], 8),
        (&[4, 4, 8], 8),
        (&[5, 4, 8], 8),
        (&[4, 9], 8),
    ] {
        assert!(!are_ends(ends, dims), "{ends:?}");
    }
}

#[test]
fn nothing_trains_a_codebook_of_nothing() {
    let kernels = Kernels::best();
    assert_eq!(train(kernels, 4, 1..3, &[]), [0.0; 2 * ENTRIES]);
    assert_eq!(train_errors(kernels, &mut []), [0.0; ENTRIES]);
    // One row is its own mean, whichever entry it gets.
    let codebook = train(kernels, 2, 0..2, &[3.0, -4.0]);
    let quantiser = Quantiser::new(2, None, vec![2], codebook, [0.0; ENTRIES]);
    assert_eq!(quantiser.error(kernels, &[3.0, -4.0]), 0.0);
}
