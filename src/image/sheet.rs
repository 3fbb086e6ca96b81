//! sheet: square tiles side by side in one picture, row by row.

use crate::image::Picture;

/// A picture of square tiles; grey where no tile is.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// Side of a tile, in pixels.
    tile: usize,
    /// Tiles in a row.
    columns: usize,
    picture: Picture,
}

impl Sheet {
    /// A sheet with room for so many tiles of `tile` x `tile` pixels, `columns` in a row. Neither may be 0.
    pub fn new(tiles: usize, tile: u32, columns: u32) -> Self {
        let (width, height) = (columns * tile, tiles.div_ceil(columns as usize) as u32 * tile);
        let rgb = vec![128; width as usize * height as usize * 3];
        Self { tile: tile as usize, columns: columns as usize, picture: Picture { width, height, rgb } }
    }

    /// Puts a tile, tile x tile x 3 bytes of RGB, at place `at`, counted row by row.
    pub fn place(&mut self, at: usize, square: &[u8]) {
        let stride = self.columns * self.tile * 3;
        let corner = at / self.columns * self.tile * stride + at % self.columns * self.tile * 3;
        for (line, row) in square.chunks_exact(self.tile * 3).enumerate() {
            let from = corner + line * stride;
            self.picture.rgb[from..from + row.len()].copy_from_slice(row);
        }
    }

    /// The picture.
    pub fn picture(self) -> Picture {
        self.picture
    }
}
