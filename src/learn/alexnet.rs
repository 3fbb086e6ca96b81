//! alexnet: AlexNet's layers, with batch norm and without groups or local response normalisation.

use super::layer::Layer;

/// Below this side the last pooling window does not fit.
pub(super) const SMALLEST_INPUT: u32 = 63;

/// width, kernel, stride, padding, and whether pooling follows: the published network's five convolutions.
const CONVS: [(i64, i64, i64, i64, bool); 5] =
    [(96, 11, 4, 2, true), (256, 5, 1, 2, true), (384, 3, 1, 1, false), (384, 3, 1, 1, false), (256, 3, 1, 1, true)];

/// Five times convolution, batch norm, ReLU, and three poolings of 3 by stride 2.
pub(super) fn features(mut from: i64) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (to, kernel, stride, padding, pooled) in CONVS {
        let index = layers.len();
        layers.push(Layer::Conv { index, from, to, kernel, stride, padding });
        layers.push(Layer::Norm { index: index + 1, width: to });
        layers.push(Layer::Relu);
        if pooled {
            layers.push(Layer::Pool { kernel: 3, stride: 2 });
        }
        from = to;
    }
    layers
}

/// Dropout comes before each linear layer.
pub(super) fn classifier(flat: i64) -> Vec<Layer> {
    vec![
        Layer::Dropout,
        Layer::Linear { index: 1, from: flat, to: 4096 },
        Layer::Relu,
        Layer::Dropout,
        Layer::Linear { index: 4, from: 4096, to: 4096 },
        Layer::Relu,
    ]
}
