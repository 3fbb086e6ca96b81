//! dropout: which values are left out, drawn by us, so that a resumed run draws the same, on any device.

use crate::base::Seed;
use anyhow::{Result, ensure};
use rand::Rng;
use tch::{Device, Kind, Tensor};

/// Refuses a share that is not in 0..1.
pub(super) fn check(share: f64) -> Result<()> {
    ensure!((0. ..1.).contains(&share), "dropout is {share}, expected a share of 0 or more and less than 1");
    Ok(())
}

// DIVERGES: the published code draws from torch's global generator, whose numbers a resumed run cannot have again.

/// [n, width] of 0 with probability `share` and 1 / (1 - share) otherwise, drawn from stream `layer` of a step's
/// seed. The share is rounded to 1/256: one random byte decides a value. 0 gives none.
pub(super) fn mask(
    size: &[i64],
    share: f64,
    step_seed: i64,
    layer: u64,
    (kind, device): (Kind, Device),
) -> Result<Option<Tensor>> {
    let threshold = (share * 256.).round().min(255.) as u8;
    if threshold == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0u8; size.iter().product::<i64>() as usize];
    Seed::of_node(step_seed as u64, "dropout").stream("mask", layer).fill_bytes(&mut bytes);
    for byte in &mut bytes {
        *byte = u8::from(*byte >= threshold);
    }
    let kept = 1. - f64::from(threshold) / 256.;
    let mask = Tensor::f_from_slice(&bytes)?.f_view(size)?.f_to_device(device)?.f_to_kind(kind)?;
    Ok(Some(mask.f_div_scalar(kept)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    #[test]
    fn half_the_values_go_and_the_mean_stays() {
        let mask = mask(&[256, 4096], 0.5, 31, 0, CPU).unwrap().unwrap();
        let mean = mask.mean(Kind::Double).double_value(&[]);
        assert!((mean - 1.).abs() < 4. / 1024., "{mean}"); // 4 sigma of 2^20 fair coins
        assert_eq!((mask.min().double_value(&[]), mask.max().double_value(&[])), (0., 2.));
    }

    #[test]
    fn masks_are_told_apart_by_step_and_layer_and_by_nothing_else() {
        let draw = |seed, layer| mask(&[4, 64], 0.5, seed, layer, CPU).unwrap().unwrap();
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(2, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert!(mask(&[4, 64], 0., 1, 0, CPU).unwrap().is_none());
        assert!(check(1.).is_err() && check(-0.1).is_err() && check(f64::NAN).is_err());
    }
}
