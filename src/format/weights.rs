//! weights: named tensors in safetensors files, as `torch.load_state_dict` takes them.

use super::element::Element;
use super::error::{FormatError, Result, damaged, unwritten, wrong_rows};
use super::kind::{Container, Holds, Kind, Metadata, SCHEMA_KEY, Scalar, field};
use arrow::buffer::Buffer;
use bytes::Bytes;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::io::Write;

/// Trunk, batch-norm statistics and head.
pub static WEIGHTS: Kind = Kind {
    name: "weights",
    version: 1,
    file: "weights.safetensors",
    container: Container::Safetensors,
    fields: &[
        field("features.*", Holds::Tensor, "convolutions and batch-norms, by torch's names"),
        field("classifier.*", Holds::Tensor, "fully connected layers"),
        field("top_layer.*", Holds::Tensor, "the head"),
        field("projection_head.*", Holds::Tensor, "the head of DeepCluster-v2"),
        field("conv1.*, bn1.*, layer*.*", Holds::Tensor, "of a ResNet, by torchvision's names"),
    ],
    metadata: &[("format", "pt"), ("any other", "what the stage adds, as text")],
    rows: "tensors of larger numbers first, then by name; the first byte of data is a multiple of 64",
};

/// What the optimizer keeps from step to step.
pub static MOMENTUM: Kind = Kind {
    name: "momentum",
    version: 1,
    file: "momentum.safetensors",
    container: Container::Safetensors,
    fields: &[field("*", Holds::Tensor, "momentum of the weight of the same name")],
    metadata: WEIGHTS.metadata,
    rows: WEIGHTS.rows,
};

/// A tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// Its name, such as `features.0.weight`.
    pub name: &'a str,
    /// Its numbers' type.
    pub scalar: Scalar,
    /// Its sizes; none for a single number.
    pub shape: &'a [usize],
    /// Its numbers, little endian, the last dimension running fastest.
    pub bytes: &'a [u8],
}

impl TensorRef<'_> {
    fn is_whole(&self) -> bool {
        let count = self.shape.iter().try_fold(self.scalar.bytes(), |bytes, size| bytes.checked_mul(*size));
        count == Some(self.bytes.len())
    }
}

/// Writes tensors of `kind` (weights or momentum) in a fixed order, whatever order the caller has.
pub fn write_tensors<W: Write>(out: W, kind: &Kind, tensors: &[TensorRef<'_>], metadata: &Metadata) -> Result<W> {
    let mut metadata = metadata.clone();
    metadata.insert(SCHEMA_KEY.to_owned(), kind.tag());
    write_foreign(out, &kind.tag(), tensors, &metadata)
}

/// The same without saying of what kind the file is; errors call it `name`.
pub fn write_foreign<W: Write>(mut out: W, name: &str, tensors: &[TensorRef<'_>], metadata: &Metadata) -> Result<W> {
    let mut tensors: Vec<_> = tensors.iter().collect();
    // larger numbers first keep each tensor aligned when the file is mapped
    tensors.sort_by(|a, b| b.scalar.bytes().cmp(&a.scalar.bytes()).then(a.name.cmp(b.name)));
    let mut names: Vec<_> = tensors.iter().map(|tensor| tensor.name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(wrong_rows(name, format!("tensor {:?} given twice", twice[0])));
    }
    if let Some(odd) = tensors.iter().find(|tensor| !tensor.is_whole() || tensor.name == "__metadata__") {
        return Err(wrong_rows(name, format!("tensor {:?}: {} bytes for its shape", odd.name, odd.bytes.len())));
    }
    let header = header(&tensors, metadata);
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(unwritten(name));
    put(&(header.len() as u64).to_le_bytes())?;
    put(header.as_bytes())?;
    for tensor in tensors {
        put(tensor.bytes)?;
    }
    out.flush().map_err(unwritten(name))?;
    Ok(out)
}

fn header(tensors: &[&TensorRef<'_>], metadata: &Metadata) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let mut metadata = metadata.clone();
    metadata.insert("format".to_owned(), "pt".to_owned());
    let pairs: Vec<_> = metadata.iter().map(|(key, value)| format!("{}:{}", text(key), text(value))).collect();
    let mut header = format!("{{\"__metadata__\":{{{}}}", pairs.join(","));
    let mut start = 0;
    for tensor in tensors {
        let (name, shape, end) = (text(tensor.name), tensor.shape, start + tensor.bytes.len());
        let dtype = dtype(tensor.scalar);
        header += &format!(",{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}");
        start = end;
    }
    header.push('}');
    let padded = (header.len() + 8).next_multiple_of(64) - 8;
    header.extend(std::iter::repeat_n(' ', padded - header.len()));
    header
}

/// Tensors in a mapped file.
#[derive(Debug)]
pub struct Tensors {
    metadata: Metadata,
    tensors: BTreeMap<String, Tensor>,
}

/// A tensor in a mapped file.
#[derive(Debug)]
pub struct Tensor {
    scalar: Scalar,
    shape: Vec<usize>,
    values: Buffer,
}

impl Tensor {
    /// Its numbers' type.
    pub fn scalar(&self) -> Scalar {
        self.scalar
    }

    /// Its sizes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its bytes, not copied.
    pub fn bytes(&self) -> &[u8] {
        &self.values
    }

    /// Its numbers, not copied; `None` if they have another type or are not aligned in memory.
    pub fn numbers<T: Element>(&self) -> Option<&[T]> {
        let aligned = self.values.as_ptr().align_offset(align_of::<T>()) == 0;
        (self.scalar == T::SCALAR && aligned).then(|| self.values.typed_data())
    }
}

impl Tensors {
    /// Opens a file that must be of `kind`.
    pub fn open(kind: &Kind, bytes: &Bytes) -> Result<Self> {
        let file = Self::open_any(&kind.tag(), bytes)?;
        match file.metadata.get(SCHEMA_KEY) {
            Some(found) if *found == kind.tag() => Ok(file),
            found => {
                let found = found.cloned().unwrap_or_else(|| format!("no {SCHEMA_KEY}"));
                Err(FormatError::OtherKind { expected: kind.tag(), found })
            }
        }
    }

    /// Opens tensors from any program, such as torchvision's; errors call them `name`.
    pub fn open_any(name: &str, bytes: &Bytes) -> Result<Self> {
        let wrong = |reason: String| damaged(name, reason);
        let (length, header) = SafeTensors::read_metadata(bytes).map_err(|error| wrong(error.to_string()))?;
        let data = Buffer::from(bytes.slice(length + 8..));
        let mut tensors = BTreeMap::new();
        for (tensor, info) in header.tensors() {
            let (start, end) = info.data_offsets;
            if start > end || end > data.len() {
                return Err(wrong(format!("tensor {tensor:?} lies outside the file")));
            }
            let scalar = scalar(info.dtype).ok_or_else(|| wrong(format!("tensor {tensor:?} is of {}", info.dtype)))?;
            let values = data.slice_with_length(start, end - start);
            tensors.insert(tensor, Tensor { scalar, shape: info.shape.clone(), values });
        }
        let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Self { metadata, tensors })
    }

    /// The strings beside the tensors.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Every tensor, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}

fn dtype(scalar: Scalar) -> Dtype {
    match scalar {
        Scalar::U8 => Dtype::U8,
        Scalar::I32 => Dtype::I32,
        Scalar::I64 => Dtype::I64,
        Scalar::F16 => Dtype::F16,
        Scalar::F32 => Dtype::F32,
        Scalar::F64 => Dtype::F64,
    }
}

fn scalar(dtype: Dtype) -> Option<Scalar> {
    [Scalar::U8, Scalar::I32, Scalar::I64, Scalar::F16, Scalar::F32, Scalar::F64]
        .into_iter()
        .find(|scalar| self::dtype(*scalar) == dtype)
}
