//! alexnet: AlexNet, with batch norm and without groups or local response normalisation.

use super::row::{Entry, Row, flat};
use crate::learn::module::Module;

pub(super) static ALEXNET: Row = Row { build, has_stems: false, published: true, torchvision_head: None };

/// width, kernel, stride, padding, and whether pooling follows: the published network's five convolutions.
const CONVS: [(i64, i64, i64, i64, bool); 5] =
    [(96, 11, 4, 2, true), (256, 5, 1, 2, true), (384, 3, 1, 1, false), (384, 3, 1, 1, false), (256, 3, 1, 1, true)];

fn build(entry: Entry) -> Module {
    flat(entry, features(entry.size.channels), classifier)
}

/// Five times convolution, batch norm, ReLU, and three poolings of 3 by stride 2.
fn features(mut from: i64) -> Module {
    let mut modules = Vec::new();
    for (number, (to, kernel, stride, padding, pooled)) in (1..).zip(CONVS) {
        modules.push(Module::Conv { from, to, kernel, stride, padding, bias: true });
        modules.extend([Module::Norm(to), Module::Relu, Module::Map(format!("conv{number}"))]);
        if pooled {
            modules.push(Module::Pool { kernel: 3, stride: 2, padding: 0 });
        }
        from = to;
    }
    Module::numbered(modules)
}

/// Dropout comes before each linear layer. The feature is FC2 before its ReLU, the published choice.
fn classifier(flat: i64) -> Module {
    Module::numbered(vec![
        Module::Dropout(0),
        Module::Linear(flat, 4096),
        Module::Relu,
        Module::Dropout(3),
        Module::Linear(4096, 4096),
        Module::Feature,
        Module::Relu,
    ])
}
