//! alexnet_small: an AlexNet for images of 32 pixels.

use super::row::{Entry, Row, flat};
use crate::learn::module::Module;

pub(super) static ALEXNET_SMALL: Row = Row { build, has_stems: false, published: false, torchvision_head: None };

/// Width, and whether pooling follows. The widths are those of AlexNet's one-tower version (Krizhevsky, 2014).
const CONVS: [(i64, bool); 5] = [(64, true), (192, true), (384, false), (256, false), (256, true)];
const FULL: i64 = 1024;

/// Five times 3 x 3 convolution by stride 1, batch norm, ReLU, and three poolings of 2 by stride 2.
fn build(entry: Entry) -> Module {
    let (mut modules, mut from) = (Vec::new(), entry.size.channels);
    for (number, (to, pooled)) in (1..).zip(CONVS) {
        modules.push(Module::Conv { from, to, kernel: 3, stride: 1, padding: 1, bias: true });
        modules.extend([Module::Norm(to), Module::Relu, Module::Map(format!("conv{number}"))]);
        if pooled {
            modules.push(Module::Pool { kernel: 2, stride: 2, padding: 0 });
        }
        from = to;
    }
    flat(entry, Module::numbered(modules), classifier)
}

/// Dropout comes before each linear layer. The feature is FC2 before its ReLU.
fn classifier(flat: i64) -> Module {
    Module::numbered(vec![
        Module::Dropout(0),
        Module::Linear(flat, FULL),
        Module::Relu,
        Module::Dropout(3),
        Module::Linear(FULL, FULL),
        Module::Feature,
        Module::Relu,
    ])
}
