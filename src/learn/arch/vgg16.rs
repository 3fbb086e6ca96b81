//! vgg16: VGG16 (configuration D), with batch norm.

use super::row::{Entry, Row, flat};
use crate::learn::module::Module;

pub(super) static VGG16: Row = Row { build, has_stems: false, published: true, torchvision_head: Some("classifier.6") };

/// Width and number of convolutions of each block; a pooling of 2 by stride 2 ends it.
const BLOCKS: [(i64, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

fn build(entry: Entry) -> Module {
    flat(entry, features(entry.size.channels), classifier)
}

/// Thirteen times 3 x 3 convolution, batch norm, ReLU.
fn features(mut from: i64) -> Module {
    let (mut modules, mut number) = (Vec::new(), 0);
    for (to, convs) in BLOCKS {
        for _ in 0..convs {
            number += 1;
            modules.push(Module::Conv { from, to, kernel: 3, stride: 1, padding: 1, bias: true });
            modules.extend([Module::Norm(to), Module::Relu, Module::Map(format!("conv{number}"))]);
            from = to;
        }
        modules.push(Module::Pool { kernel: 2, stride: 2, padding: 0 });
    }
    Module::numbered(modules)
}

/// Dropout comes behind the ReLUs; there is none before FC1, and the published network has none behind FC2. The feature
/// is FC2 before its ReLU.
fn classifier(flat: i64) -> Module {
    Module::numbered(vec![
        Module::Linear(flat, 4096),
        Module::Relu,
        Module::Dropout(2),
        Module::Linear(4096, 4096),
        Module::Feature,
        Module::Relu,
    ])
}
