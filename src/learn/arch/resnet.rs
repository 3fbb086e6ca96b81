//! resnet: ResNet-18 and ResNet-50 as torchvision has them: a block's stride is in its 3 x 3 convolution ("v1.5").

use super::row::{Entry, Row, Stem};
use crate::learn::module::Module;

pub(super) static RESNET18: Row = Row {
    build: |entry| build(entry, [2, 2, 2, 2], 1),
    has_stems: true,
    published: false,
    torchvision_head: Some("fc"),
};
pub(super) static RESNET50: Row = Row {
    build: |entry| build(entry, [3, 4, 6, 3], 4),
    has_stems: true,
    published: false,
    torchvision_head: Some("fc"),
};

/// `depths` are the blocks of each stage. A block's output has `expansion` times its width; a bottleneck has 4, a basic
/// block 1. The feature is the mean over the last map.
fn build(entry: Entry, depths: [usize; 4], expansion: i64) -> Module {
    let (conv1, pool) = match entry.stem {
        Stem::Imagenet => {
            (conv(entry.size.channels, 64, 7, 2), vec![Module::Pool { kernel: 3, stride: 2, padding: 1 }])
        }
        Stem::Cifar => (conv(entry.size.channels, 64, 3, 1), Vec::new()),
    };
    let mut children = vec![
        ("conv1".to_owned(), conv1),
        ("bn1".to_owned(), Module::Norm(64)),
        (String::new(), Module::Relu),
        (String::new(), Module::Map("conv1".to_owned())),
    ];
    children.extend(pool.into_iter().map(|pool| (String::new(), pool)));
    let mut from = 64;
    for (stage, depth) in depths.into_iter().enumerate() {
        let width = 64 << stage;
        let blocks = (0..depth).map(|number| {
            let stride = if stage > 0 && number == 0 { 2 } else { 1 };
            let block = block(from, width, expansion, stride);
            from = width * expansion;
            block
        });
        let name = format!("layer{}", stage + 1);
        children.push((name.clone(), Module::numbered(blocks.collect())));
        children.push((String::new(), Module::Map(name)));
    }
    let end = [Module::Average, Module::Flatten, Module::Feature];
    children.extend(end.map(|module| (String::new(), module)));
    Module::Sequence(children)
}

/// Two 3 x 3 convolutions, or a 3 x 3 one between two 1 x 1, beside the input itself. Where the size changes, a 1 x 1
/// convolution of the input takes its place.
fn block(from: i64, width: i64, expansion: i64, stride: i64) -> Module {
    let to = width * expansion;
    let convs = match expansion {
        1 => vec![conv(from, width, 3, stride), conv(width, to, 3, 1)],
        _ => vec![conv(from, width, 1, 1), conv(width, width, 3, stride), conv(width, to, 1, 1)],
    };
    let last = convs.len();
    let mut body = Vec::new();
    for (number, conv) in (1..).zip(convs) {
        body.push((format!("conv{number}"), conv));
        body.push((format!("bn{number}"), Module::Norm(if number == last { to } else { width })));
        if number < last {
            body.push((String::new(), Module::Relu));
        }
    }
    let shortcut = match from == to && stride == 1 {
        true => Module::Sequence(Vec::new()),
        false => Module::named([("downsample", Module::numbered(vec![conv(from, to, 1, stride), Module::Norm(to)]))]),
    };
    let sum = Module::Residual(Box::new(Module::Sequence(body)), Box::new(shortcut));
    Module::named([("", sum), ("", Module::Relu)])
}

/// A convolution without bias whose windows are centred on every `stride`-th pixel.
fn conv(from: i64, to: i64, kernel: i64, stride: i64) -> Module {
    Module::Conv { from, to, kernel, stride, padding: kernel / 2, bias: false }
}
