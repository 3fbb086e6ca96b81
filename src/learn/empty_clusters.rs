//! empty_clusters: how an empty cluster gets a centroid, by faiss's rule to the bit.

/// The 32-bit Mersenne twister (Matsumoto and Nishimura, 1998), which faiss draws its splits from.
struct Twister {
    state: [u32; 624],
    next: usize,
}

impl Twister {
    fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for i in 1..624 {
            let before = state[i - 1];
            state[i] = (before ^ before >> 30).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: 624 }
    }

    fn refill(&mut self) {
        for i in 0..624 {
            let y = self.state[i] & 0x8000_0000 | self.state[(i + 1) % 624] & 0x7fff_ffff;
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + 397) % 624] ^ y >> 1 ^ twist;
        }
        self.next = 0;
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == 624 {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }

    /// One of [0, 1], in single precision as in faiss.
    fn next_f32(&mut self) -> f32 {
        self.next_u32() as f32 / u32::MAX as f32
    }
}

/// How far the halves of a split cluster are moved apart, as a share of each coordinate (faiss: 1/1024).
const NUDGE: f32 = 1.0 / 1024.0;
/// faiss seeds its generator anew in every iteration, always with this.
const SEED: u32 = 1234;

/// Gives every empty cluster half of a fuller one; returns how many were split.
///
/// `centroids` is k x `dims`, `counts` how many of the rows each cluster holds; both are changed. A cluster of n_c rows
/// is chosen with probability (n_c - 1) / (n - k), clusters being tried in order and over again.
pub(super) fn split_empty(centroids: &mut [f32], dims: usize, counts: &[u64]) -> usize {
    let k = counts.len();
    let rows: u64 = counts.iter().sum();
    let mut sizes: Vec<f32> = counts.iter().map(|&count| count as f32).collect();
    // Without a cluster of two there is nothing to halve, and the search below would not end.
    if rows < k as u64 || !sizes.contains(&0.0) {
        return 0;
    }
    let spare = (rows - k as u64) as f32;
    let mut twister = Twister::new(SEED);
    let mut splits = 0;
    for empty in 0..k {
        if sizes[empty] != 0.0 {
            continue;
        }
        let mut full = 0;
        loop {
            let chance = ((f64::from(sizes[full]) - 1.0) / f64::from(spare)) as f32;
            if twister.next_f32() < chance {
                break;
            }
            full = (full + 1) % k;
        }
        halve(centroids, dims, full, empty);
        sizes[empty] = sizes[full] / 2.0;
        sizes[full] -= sizes[empty];
        splits += 1;
    }
    splits
}

/// Copies the centroid of `full` to `empty` and moves the two apart, even and odd dimensions in opposite directions.
fn halve(centroids: &mut [f32], dims: usize, full: usize, empty: usize) {
    for dim in 0..dims {
        let value = centroids[full * dims + dim];
        let (up, down) = (value * (1.0 + NUDGE), value * (1.0 - NUDGE));
        let (new, old) = if dim % 2 == 0 { (up, down) } else { (down, up) };
        centroids[empty * dims + dim] = new;
        centroids[full * dims + dim] = old;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twister_gives_the_numbers_of_its_inventors() {
        // The 10,000th number from seed 5489 is laid down in the C++ standard, [rand.predef].
        let mut twister = Twister::new(5489);
        let last = (0..10_000).map(|_| twister.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn without_an_empty_cluster_nothing_moves() {
        let mut centroids = vec![1.0, 2.0, 3.0, 4.0];
        assert_eq!(split_empty(&mut centroids, 2, &[3, 1]), 0);
        assert_eq!(centroids, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn as_many_rows_as_clusters_still_ends() {
        let mut centroids = vec![1.0, 0.0, 5.0];
        assert_eq!(split_empty(&mut centroids, 1, &[2, 0, 1]), 1);
        assert_eq!(centroids, [1.0 - NUDGE, 1.0 + NUDGE, 5.0]);
    }
}
