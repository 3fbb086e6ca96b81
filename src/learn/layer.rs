//! layer: one layer of a network, and the names and shapes of its tensors.

/// One layer; `index` is its place in the `features` or `classifier` sequence, and so its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Square convolution with bias.
    Conv { index: usize, from: i64, to: i64, kernel: i64, stride: i64, padding: i64 },
    /// Batch norm over `width` channels, epsilon 1e-5.
    Norm { index: usize, width: i64 },
    /// max(x, 0).
    Relu,
    /// Max pooling without padding.
    Pool { kernel: i64, stride: i64 },
    /// Zeroes a share of the values while training.
    Dropout,
    /// Matrix product with bias.
    Linear { index: usize, from: i64, to: i64 },
}

impl Layer {
    /// Appends the name and the shape of each of its tensors, in PyTorch's order; `sequence` is `features` or `classifier`.
    pub(super) fn tensors(&self, sequence: &str, list: &mut Vec<(String, Vec<i64>)>) {
        let mut push =
            |index: &usize, name: &str, shape: Vec<i64>| list.push((format!("{sequence}.{index}.{name}"), shape));
        match self {
            Self::Conv { index, from, to, kernel, .. } => {
                push(index, "weight", vec![*to, *from, *kernel, *kernel]);
                push(index, "bias", vec![*to]);
            }
            Self::Norm { index, width } => {
                for name in ["weight", "bias", "running_mean", "running_var"] {
                    push(index, name, vec![*width]);
                }
                push(index, "num_batches_tracked", vec![]);
            }
            Self::Linear { index, from, to } => {
                push(index, "weight", vec![*to, *from]);
                push(index, "bias", vec![*to]);
            }
            Self::Relu | Self::Pool { .. } | Self::Dropout => {}
        }
    }
}
