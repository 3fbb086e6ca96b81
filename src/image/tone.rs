//! tone: brightness, contrast, saturation, hue and grey of pixels, to the byte as Pillow and torchvision make them.

/// One change of colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tone {
    /// Towards black below 1, away from it above: Pillow's `ImageEnhance.Brightness`.
    Brightness(f32),
    /// Towards the picture's mean grey below 1, away from it above: Pillow's `ImageEnhance.Contrast`.
    Contrast(f32),
    /// Towards each pixel's own grey below 1, away from it above: Pillow's `ImageEnhance.Color`.
    Saturation(f32),
    /// Round the circle of hues by this share of it, -0.5 to 0.5: torchvision's `adjust_hue` of a Pillow image.
    Hue(f64),
    /// No colours: Pillow's `convert("L")`, three times.
    Grey,
}

impl Tone {
    /// Changes `rgb`, the n x 3 bytes of one picture.
    pub fn apply(self, rgb: &mut [u8]) {
        let pixels = rgb.as_chunks_mut::<3>().0;
        match self {
            Self::Brightness(factor) => pixels.iter_mut().for_each(|pixel| *pixel = blend([0; 3], *pixel, factor)),
            Self::Contrast(factor) => {
                let sum: u64 = pixels.iter().map(|pixel| u64::from(grey(*pixel))).sum();
                let mean = (sum as f64 / pixels.len().max(1) as f64 + 0.5) as u8;
                pixels.iter_mut().for_each(|pixel| *pixel = blend([mean; 3], *pixel, factor));
            }
            Self::Saturation(factor) => {
                pixels.iter_mut().for_each(|pixel| *pixel = blend([grey(*pixel); 3], *pixel, factor));
            }
            Self::Hue(share) => {
                // torchvision cuts the shift off towards zero and lets the byte overflow.
                let shift = (share * 255.0) as i32 as u8;
                for pixel in pixels {
                    let [hue, saturation, value] = to_hsv(*pixel);
                    *pixel = to_rgb([hue.wrapping_add(shift), saturation, value]);
                }
            }
            Self::Grey => pixels.iter_mut().for_each(|pixel| *pixel = [grey(*pixel); 3]),
        }
    }
}

/// ITU-R 601 luma in 16 bits of fixed point (Pillow's L24).
fn grey([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

/// Pillow's `Image.blend`: `from` at a factor of 0, `to` at 1, beyond it above.
fn blend(from: [u8; 3], to: [u8; 3], factor: f32) -> [u8; 3] {
    let of = |from: u8, to: u8| {
        // A float to u8 is cut off and clipped, as it is there.
        (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
    };
    [of(from[0], to[0]), of(from[1], to[1]), of(from[2], to[2])]
}

/// Pillow's `convert("HSV")`: single precision but for the constants, cut off to bytes.
fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let away = |part: u8| f32::from(most - part) / range;
    let (red_away, green_away, blue_away) = (away(red), away(green), away(blue));
    let sixth = if red == most {
        blue_away - green_away
    } else if green == most {
        (2.0 + f64::from(red_away) - f64::from(blue_away)) as f32
    } else {
        (4.0 + f64::from(green_away) - f64::from(red_away)) as f32
    };
    let hue = ((f64::from(sixth) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// Pillow's way back.
fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let sixth = (f64::from(hue) * 6.0 / 255.0).floor();
    let rest = f64::from((f64::from(hue) * 6.0 / 255.0 - sixth) as f32);
    let share = f64::from((f64::from(saturation) / 255.0) as f32);
    let scaled = |factor: f64| (f64::from(value) * factor).round() as u8;
    let low = scaled(1.0 - share);
    let falling = scaled(1.0 - share * rest);
    let rising = scaled(1.0 - share * (1.0 - rest));
    match sixth as u8 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}
