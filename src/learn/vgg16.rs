//! vgg16: VGG16's layers (configuration D), with batch norm.

use super::layer::Layer;

/// Five halvings: below this side nothing is left.
pub(super) const SMALLEST_INPUT: u32 = 32;

/// Width and number of convolutions of each block; a pooling of 2 by stride 2 ends it.
const BLOCKS: [(i64, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

/// Thirteen times 3 x 3 convolution, batch norm, ReLU.
pub(super) fn features(mut from: i64) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (to, convs) in BLOCKS {
        for _ in 0..convs {
            let index = layers.len();
            layers.push(Layer::Conv { index, from, to, kernel: 3, stride: 1, padding: 1 });
            layers.push(Layer::Norm { index: index + 1, width: to });
            layers.push(Layer::Relu);
            from = to;
        }
        layers.push(Layer::Pool { kernel: 2, stride: 2 });
    }
    layers
}

/// Dropout comes behind the ReLUs; there is none before FC1, and the published network has none behind FC2.
pub(super) fn classifier(flat: i64) -> Vec<Layer> {
    vec![
        Layer::Linear { index: 0, from: flat, to: 4096 },
        Layer::Relu,
        Layer::Dropout,
        Layer::Linear { index: 3, from: 4096, to: 4096 },
        Layer::Relu,
    ]
}
