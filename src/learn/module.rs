//! module: a network as a tree of modules, and the names, shapes and sizes that follow from it.

/// What batch norm adds to a variance, in every network here.
pub const EPSILON: f64 = 1e-5;

/// One module. Names and places of tensors are those that `torch.nn` gives the same tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// Square convolution.
    Conv {
        /// Channels that come in.
        from: i64,
        /// Channels that go out.
        to: i64,
        /// Side of the window.
        kernel: i64,
        /// Pixels between two windows.
        stride: i64,
        /// Zeroes around the map.
        padding: i64,
        /// Whether it adds a number to each channel.
        bias: bool,
    },
    /// Batch norm over so many channels, with [`EPSILON`].
    Norm(i64),
    /// max(x, 0).
    Relu,
    /// Max pooling.
    Pool {
        /// Side of the window.
        kernel: i64,
        /// Pixels between two windows.
        stride: i64,
        /// Pixels around the map that are never the largest.
        padding: i64,
    },
    /// Mean over each whole map.
    Average,
    /// A row of numbers from all maps of an image.
    Flatten,
    /// Zeroes a share of the values while training, drawn from the step's stream of this number.
    Dropout(u64),
    /// Matrix product with bias, from so many values to so many.
    Linear(i64, i64),
    /// One after the other. A child without a name has its parent's: what is within it stands in the parent itself.
    Sequence(Vec<(String, Module)>),
    /// The sum of two ways from the same input.
    Residual(Box<Module>, Box<Module>),
    /// No layer: the map here has this name, and a probe reads it.
    Map(String),
    /// No layer: the values here are the feature. A head reads what comes out at the end.
    Feature,
}

/// What passes between two modules, for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Channels; after `Flatten` values.
    pub channels: i64,
    /// Side of the square map.
    pub side: i64,
}

impl Module {
    /// Children by their place in the sequence, as `torch.nn.Sequential` names them; a mark has no place.
    pub fn numbered(modules: Vec<Module>) -> Self {
        let mut place = 0;
        let named = |module: Module| {
            let name = if matches!(module, Self::Map(_) | Self::Feature) { String::new() } else { place.to_string() };
            place += usize::from(!name.is_empty());
            (name, module)
        };
        Self::Sequence(modules.into_iter().map(named).collect())
    }

    /// Children by these names.
    pub fn named<const N: usize>(modules: [(&str, Module); N]) -> Self {
        Self::Sequence(modules.into_iter().map(|(name, module)| (name.to_owned(), module)).collect())
    }

    /// Appends the name and the shape of each tensor, in PyTorch's order; `at` is this module's own name.
    pub fn tensors(&self, at: &str, list: &mut Vec<(String, Vec<i64>)>) {
        let mut push = |name: &str, shape: Vec<i64>| list.push((below(at, name), shape));
        match self {
            Self::Conv { from, to, kernel, bias, .. } => {
                push("weight", vec![*to, *from, *kernel, *kernel]);
                if *bias {
                    push("bias", vec![*to]);
                }
            }
            Self::Norm(width) => {
                for name in ["weight", "bias", "running_mean", "running_var"] {
                    push(name, vec![*width]);
                }
                push("num_batches_tracked", vec![]);
            }
            Self::Linear(from, to) => {
                push("weight", vec![*to, *from]);
                push("bias", vec![*to]);
            }
            Self::Sequence(children) => {
                children.iter().for_each(|(name, child)| child.tensors(&below(at, name), list));
            }
            Self::Residual(body, shortcut) => {
                body.tensors(at, list);
                shortcut.tensors(at, list);
            }
            Self::Relu | Self::Pool { .. } | Self::Average | Self::Flatten | Self::Dropout(_) => {}
            Self::Map(_) | Self::Feature => {}
        }
    }

    /// The size behind this module; `see` is told of every module and of the size behind it. A residual's ways end in one
    /// size, and only the longer one is walked. No side is positive where a window does not fit.
    pub fn walk(&self, from: Size, see: &mut dyn FnMut(&Module, Size)) -> Size {
        let size = match self {
            Self::Conv { to, kernel, stride, padding, .. } => {
                Size { channels: *to, side: shrunk(from.side + 2 * padding, *kernel, *stride) }
            }
            Self::Pool { kernel, stride, padding } => {
                Size { side: shrunk(from.side + 2 * padding, *kernel, *stride), ..from }
            }
            Self::Average => Size { side: from.side.min(1), ..from },
            Self::Flatten => Size { channels: from.channels * from.side * from.side, side: from.side.min(1) },
            Self::Linear(_, to) => Size { channels: *to, ..from },
            Self::Sequence(children) => children.iter().fold(from, |size, (_, child)| child.walk(size, see)),
            Self::Residual(body, _) => body.walk(from, see),
            Self::Norm(_) | Self::Relu | Self::Dropout(_) | Self::Map(_) | Self::Feature => from,
        };
        see(self, size);
        size
    }
}

/// The name of a tensor or child within a module.
pub fn below(at: &str, name: &str) -> String {
    match (at, name) {
        ("", only) | (only, "") => only.to_owned(),
        _ => format!("{at}.{name}"),
    }
}

/// Places where a window of `kernel` fits, by `stride`; not positive where none does.
fn shrunk(side: i64, kernel: i64, stride: i64) -> i64 {
    (side - kernel).div_euclid(stride) + 1
}
