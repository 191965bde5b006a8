use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;

fn column(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(values.iter().copied(), &mut out).unwrap();
    out
}

fn check(values: &[u64]) {
    let bytes = column(values);
    let packed = Packed::new(&bytes).unwrap();
    assert_eq!(packed.len(), values.len());
    for (at, value) in values.iter().enumerate() {
        assert_eq!(packed.get(at), Some(*value), "at {at}");
    }
    for range in [0..values.len(), 1..usize::MAX, 100..300, 128..129, 200..200] {
        let mut visited = Vec::new();
        let _ = packed.for_each_back(range.clone(), |value| {
            visited.push(value);
            ControlFlow::Continue(())
        });
        let expected = values.iter().take(range.end).skip(range.start);
        assert!(visited.iter().rev().eq(expected), "{range:?}");
    }
    assert_eq!(packed.get(values.len()), None);
    assert_eq!(packed.get(usize::MAX), None);
}

fn bytes_each(values: &[u64]) -> f64 {
    f64::from(u32::try_from(column(values).len()).unwrap())
        / f64::from(u32::try_from(values.len()).unwrap())
}

#[test]
fn every_width_at_its_bounds_and_every_length_about_a_block() {
    for width in 0..=u64::BITS {
        let most = u64::MAX.checked_shr(u64::BITS - width).unwrap_or(0);
        check(&[0, most]);
        check(&[most, 0]);
        check(&[7, most, most / 2 + 1]);
        check(&[u64::MAX, most, most / 2 + 1, 0]);
        check(&(0..300).map(|n| if n % 3 == 0 { most } else { n & most }).collect::<Vec<_>>());
        check(&(0..300).map(|n| (most / 300).wrapping_mul(n)).collect::<Vec<_>>());
    }
    for len in [0, 1, 2, 127, 128, 129, 255, 256, 257, 1000] {
        check(&(0..len).map(|n| n * 1_000_003).collect::<Vec<_>>());
        check(&vec![u64::MAX; usize::try_from(len).unwrap()]);
    }
}

#[test]
fn what_rises_evenly_takes_a_few_bits() {
    let steady = |step: u64| (0..10_000).map(|n| (1 << 40) + n * step).collect::<Vec<_>>();
    let mut spread = 1_u64;
    let mut noise = |bound: u64| {
        spread = spread.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (spread >> 33) % bound
    };
    assert!(bytes_each(&steady(1)) < 0.14, "numbers without a gap");
    assert!(bytes_each(&steady(1_000_000_007)) < 0.14, "what is stored is in units");
    let near: Vec<_> = steady(1_000_003).iter().map(|value| value + noise(1000)).collect();
    assert!(bytes_each(&near) < 0.13 + 12.0 / 8.0, "{}", bytes_each(&near));
    let far: Vec<_> = (0..10_000).map(|_| noise(1000)).collect();
    assert!(bytes_each(&far) < 0.13 + 10.0 / 8.0 + 0.01, "{}", bytes_each(&far));
    let millis: Vec<_> = steady(20).iter().map(|n| (n + noise(20)) * 1_000_000).collect();
    assert!(bytes_each(&millis) < 0.13 + 6.0 / 8.0, "{}", bytes_each(&millis));
}

#[test]
fn times_keep_their_order() {
    let times = [i64::MIN, -1, 0, 1, 1_793_521_800_250_000_000, i64::MAX];
    assert!(times.is_sorted_by_key(|time| from_time(*time)));
    for time in times {
        assert_eq!(to_time(from_time(time)), time);
    }
}

#[test]
fn hostile_columns_are_refused() {
    assert!(Packed::new(&[]).is_err());
    assert!(Packed::new(&[0, 0, 0]).is_err());
    assert!(Packed::new(&[0xff; 4]).is_err(), "a length that the bytes do not bear out");
    assert!(Packed::new(&[1, 0, 0, 0]).is_err());
    for width in [58, 63, 65, 255] {
        let mut wide = column(&[1, 2, 3]);
        wide[HEAD_BYTES + WIDTH_AT] = width;
        wide.extend([0; 128]);
        assert!(Packed::new(&wide).is_err(), "no width of values, though they fit");
    }
    let mut steep = column(&[1, 2, 3]);
    steep[HEAD_BYTES + SHIFT_AT] = 41;
    assert!(Packed::new(&steep).is_err());
    let mut far = column(&[1, 3, 2]);
    far[HEAD_BYTES + PLACE_AT] = 1;
    assert!(Packed::new(&far).is_err());
    far[HEAD_BYTES + PLACE_AT..HEAD_BYTES + PLACE_AT + 4].fill(0xff);
    assert!(Packed::new(&far).is_err());
    let mut short = column(&[1, 2, 3]);
    short.pop();
    assert!(Packed::new(&short).is_err());
}

proptest! {
    #[test]
    fn any_values(
        values in prop::collection::vec((any::<u64>(), 0..64_u32), 0..600),
    ) {
        check(&values.into_iter().map(|(value, shift)| value >> shift).collect::<Vec<_>>());
    }

    #[test]
    fn partition_point_is_that_of_a_slice(
        mut values in prop::collection::vec(0..2000_u64, 0..2000), bound in 0..2000_u64,
        guess in 0..2500_usize,
    ) {
        values.sort_unstable();
        let bytes = column(&values);
        let packed = Packed::new(&bytes).unwrap();
        let expected = values.partition_point(|value| *value < bound);
        prop_assert_eq!(packed.partition_point(|value| value < bound), expected);
        prop_assert_eq!(packed.count_below(bound, guess), expected);
    }

    #[test]
    fn values_about_a_line(
        start: u64, step in 0..1_u64 << 50, unit in 1..2000_u64,
        noise in prop::collection::vec(any::<u32>(), 0..300), bits in 0..32_u32,
    ) {
        let value = |(n, noise): (u64, &u32)| {
            start.wrapping_add(n.wrapping_mul(step)).wrapping_add(u64::from(noise >> bits) * unit)
        };
        check(&(0..).zip(&noise).map(value).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, index in 0..700_usize) {
        let head = bytes.first_chunk();
        let unchecked = head.and_then(|head| Packed::with_head(&bytes, head).ok());
        for packed in [Packed::new(&bytes).ok(), unchecked].into_iter().flatten() {
            let _ = packed.get(index);
            let _ = packed.partition_point(|value| value < 9);
            let _ = packed.count_below(9, index);
            let _ = packed.for_each_back(index / 2..index, |_| ControlFlow::Continue(()));
        }
    }
}
