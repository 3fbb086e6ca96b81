//! onnx: the network, the whitening and the centroids of an epoch as one ONNX file, from images to cluster ids.

use super::{Network, Written, python};
use crate::engine::{NodeId, Plan};
use crate::format::centroids::CENTROIDS;
use crate::format::noun::CLUSTERS;
use crate::format::onnx::{Graph, Numbers, Setting, Side};
use crate::format::weights::WEIGHTS;
use crate::format::whitening::{MEAN, WHITENING, Whitening, open_mean};
use crate::format::{Centroids, Scalar, Tensors};
use crate::learn::arch::NetShape;
use crate::learn::module::{EPSILON, Module, below};
use crate::learn::sobel::{DEVIATION, MEAN as COLOUR_MEAN};
use crate::stages::weights::shape_of;
use crate::store::Store;
use crate::views::made::{Made, made};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use std::io::Write;

/// What the clusters of an epoch were made with.
struct Parts<'a> {
    clusters: &'a Made<'a>,
    weights: Bytes,
    whitening: Bytes,
    mean: Bytes,
    centroids: Bytes,
}

/// Writes the file.
pub(super) fn write(network: &Network<'_>) -> anyhow::Result<Written> {
    let Network { plan, records, store, options, .. } = *network;
    let made = made(plan, records);
    let all = made.iter().rev().filter(|made| made.is(&CLUSTERS));
    let mut found = None;
    let mut lacks = Vec::new();
    for clusters in all.filter(|made| options.epoch.is_none_or(|epoch| made.node.epoch.0 == epoch)) {
        match parts(plan, &made, store, clusters)? {
            Ok(parts) => {
                found = Some(parts);
                break;
            }
            Err(lack) => lacks.push(format!("{}: {lack}", clusters.node.name())),
        }
    }
    let Some(parts) = found else {
        let which = options.epoch.map_or_else(String::new, |epoch| format!(" at epoch {epoch}"));
        match lacks.first() {
            None => bail!("run {} has no clusters{which}", plan.name),
            Some(lack) => bail!("run {} cannot be exported{which}. {lack}", plan.name),
        }
    };
    let of = parts.clusters.node.name();
    let (shape, file) = model(&parts)?;
    let below = format!("onnx/epoch={:04}.onnx", parts.clusters.node.epoch.0);
    let (to, bytes) = network.write(&below, |out| Ok(out.write_all(&file)?))?;
    let script = format!(
        "import onnxruntime as o, numpy as n; print(o.InferenceSession({:?}).run(['cluster_id', 'feature'], {{'images': \
         n.zeros((1, {side}, {side}, 3), 'uint8')}}))",
        to.display().to_string(),
        side = shape.input
    );
    Ok(Written { to, of, files: (1, bytes), notes: Vec::new(), opens: vec![python(&script)] })
}

/// The parts that a clustering was made with, or what the store lacks of them.
fn parts<'a>(
    plan: &Plan,
    made: &'a [Made<'a>],
    store: &Store,
    clusters: &'a Made<'a>,
) -> anyhow::Result<Result<Parts<'a>, String>> {
    let input =
        |id: NodeId, port: &str| plan.node(id).inputs.iter().find(|(name, _)| *name == port).map(|(_, from)| *from);
    if plan.node(clusters.id).stage.def().verb == "pic" {
        return Ok(Err("the clusters of pic follow a flow, and no rule finds that of another image".to_owned()));
    }
    let vectors = input(clusters.id, "vectors");
    let weights = vectors.and_then(|id| input(id, "features")).and_then(|id| input(id, "weights"));
    let part = |id: Option<NodeId>, name: &str| -> anyhow::Result<Result<Bytes, String>> {
        let Some(id) = id else { return Ok(Err("it is not made of a network's features".to_owned())) };
        let bytes = made.iter().find(|made| made.id == id).map(|made| made.part(store, name)).transpose()?.flatten();
        let advice = || {
            let node = plan.node(id).name();
            let noun = node.split('@').next().unwrap_or(&node).to_owned();
            format!("the store lacks the bytes of {node}. keep: {{ {noun}: all }} in the pipeline retains them")
        };
        Ok(bytes.ok_or_else(advice))
    };
    let all =
        [(weights, WEIGHTS.file), (vectors, WHITENING.file), (vectors, MEAN.file), (Some(clusters.id), CENTROIDS.file)];
    let mut bytes = Vec::new();
    for (id, name) in all {
        match part(id, name)? {
            Ok(found) => bytes.push(found),
            Err(lack) => return Ok(Err(lack)),
        }
    }
    let [weights, whitening, mean, centroids] =
        <[Bytes; 4]>::try_from(bytes).map_err(|_| anyhow::anyhow!("BUG: four parts"))?;
    Ok(Ok(Parts { clusters, weights, whitening, mean, centroids }))
}

/// The file, and the network in it.
fn model(parts: &Parts<'_>) -> anyhow::Result<(NetShape, Vec<u8>)> {
    let weights = Tensors::open(&WEIGHTS, &parts.weights)?;
    let shape = shape_of(&weights)?;
    let side = i64::from(shape.input);
    let mut graph = Graph::new("dcpipe");
    graph.input("images", Numbers::Byte, &[Side::Any("n"), Side::Of(side), Side::Of(side), Side::Of(3)]);
    let mut builder = Builder { graph, weights: &weights, count: 0, feature: None };
    let front = builder.front(shape.sobel)?;
    builder.add("", &shape.module(), front)?;
    let feature = builder.feature.take().context("BUG: a network without a feature")?;
    let mut graph = builder.graph;
    graph.node("Identity", &[&feature], "feature", &[]);
    graph.output("feature", Numbers::Single, &[Side::Any("n"), Side::Of(shape.feature_dims() as i64)]);
    clusters(&mut graph, parts, shape.feature_dims())?;
    let metadata = [("dcpipe.of", parts.clusters.node.name())];
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let file = graph.file(&metadata).context("the network is larger than the 2 GiB that an ONNX file may have")?;
    Ok((shape, file))
}

/// From the feature to the vector, and to the nearest centroid.
fn clusters(graph: &mut Graph, parts: &Parts<'_>, dims: usize) -> anyhow::Result<()> {
    let (whitening, mean) = (Whitening::open(&parts.whitening)?, open_mean(&parts.mean)?);
    let centroids = Centroids::open(&parts.centroids)?;
    let (d, k) = (whitening.eigenvalues.len(), centroids.sizes.len());
    ensure!(
        whitening.dims == dims && mean.len() == dims,
        "the whitening is for {} numbers, not {dims}",
        whitening.dims
    );
    ensure!(centroids.dims == d, "centroids have {} numbers, vectors {d}", centroids.dims);
    // The mean is subtracted in double precision, as `whiten` does.
    let doubles: Vec<u8> = mean.iter().flat_map(|value| value.to_le_bytes()).collect();
    graph.constant("whitening.mean", Numbers::Double, &[dims], &doubles);
    graph.singles("whitening.components", &[dims, d], &transposed(&whitening.components, dims));
    graph.node("Cast", &["feature"], "feature.double", &[Setting::One("to", Numbers::Double as i64)]);
    graph.node("Sub", &["feature.double", "whitening.mean"], "centred.double", &[]);
    graph.node("Cast", &["centred.double"], "centred", &[Setting::One("to", Numbers::Single as i64)]);
    graph.node("MatMul", &["centred", "whitening.components"], "projected", &[]);
    graph.node("ReduceL2", &["projected"], "length", &[Setting::List("axes", &[1]), Setting::One("keepdims", 1)]);
    // A vector of length zero stays zero.
    graph.singles("tiny", &[1], &[f32::MIN_POSITIVE]);
    graph.node("Max", &["length", "tiny"], "divisor", &[]);
    graph.node("Div", &["projected", "divisor"], "vector", &[]);
    graph.output("vector", Numbers::Single, &[Side::Any("n"), Side::Of(d as i64)]);
    // |v - c|^2 without |v|^2, which is the same for every centroid.
    let squares = centroids.centroids.chunks_exact(d).map(|centroid| {
        let square: f64 = centroid.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        square as f32
    });
    graph.singles("centroids.squares", &[k], &squares.collect::<Vec<_>>());
    let doubled: Vec<f32> = transposed(&centroids.centroids, d).iter().map(|value| -2. * value).collect();
    graph.singles("centroids", &[d, k], &doubled);
    graph.node("MatMul", &["vector", "centroids"], "products", &[]);
    graph.node("Add", &["products", "centroids.squares"], "apart", &[]);
    graph.node("ArgMin", &["apart"], "cluster_id", &[Setting::One("axis", 1), Setting::One("keepdims", 0)]);
    graph.output("cluster_id", Numbers::Integer, &[Side::Any("n")]);
    Ok(())
}

/// Rows of `width` numbers as columns.
fn transposed(rows: &[f32], width: usize) -> Vec<f32> {
    let count = rows.len() / width.max(1);
    (0..width).flat_map(|column| (0..count).map(move |row| rows[row * width + column])).collect()
}

/// Turns modules into operators.
struct Builder<'a> {
    graph: Graph,
    weights: &'a Tensors,
    count: usize,
    feature: Option<String>,
}

impl Builder<'_> {
    /// Adds an operator, and returns the name of its value.
    fn node(&mut self, operator: &str, inputs: &[&str], settings: &[Setting<'_>]) -> String {
        self.count += 1;
        let output = format!("value{}", self.count);
        self.graph.node(operator, inputs, &output, settings);
        output
    }

    /// Adds a tensor of the weights as a constant of its name.
    fn tensor(&mut self, at: &str, name: &str) -> anyhow::Result<String> {
        let name = below(at, name);
        let tensor = self.weights.get(&name).with_context(|| format!("tensor {name} is missing"))?;
        let is_single = tensor.scalar() == Scalar::F32;
        ensure!(is_single, "tensor {name} is of {}, and ONNX's operators here take f32", tensor.scalar());
        self.graph.constant(&name, Numbers::Single, tensor.shape(), tensor.bytes());
        Ok(name)
    }

    /// From pixels to what the first convolution reads.
    fn front(&mut self, sobel: bool) -> anyhow::Result<String> {
        let scale = DEVIATION.map(|deviation| (1. / (255. * deviation)) as f32);
        let shift = [0, 1, 2].map(|channel| (-COLOUR_MEAN[channel] / DEVIATION[channel]) as f32);
        self.graph.singles("front.scale", &[1, 3, 1, 1], &scale);
        self.graph.singles("front.shift", &[1, 3, 1, 1], &shift);
        let pixels = self.node("Cast", &["images"], &[Setting::One("to", Numbers::Single as i64)]);
        let planes = self.node("Transpose", &[&pixels], &[Setting::List("perm", &[0, 3, 1, 2])]);
        let scaled = self.node("Mul", &[&planes, "front.scale"], &[]);
        let colours = self.node("Add", &[&scaled, "front.shift"], &[]);
        if !sobel {
            return Ok(colours);
        }
        let grey = self.conv("sobel.0", &colours, true, (1, 1, 0))?;
        self.conv("sobel.1", &grey, true, (3, 1, 1))
    }

    fn conv(
        &mut self,
        at: &str,
        from: &str,
        bias: bool,
        (kernel, stride, padding): (i64, i64, i64),
    ) -> anyhow::Result<String> {
        let weight = self.tensor(at, "weight")?;
        let bias = if bias { Some(self.tensor(at, "bias")?) } else { None };
        let inputs: Vec<&str> = [from, &weight].into_iter().chain(bias.as_deref()).collect();
        Ok(self.node("Conv", &inputs, &window(&[kernel; 2], &[stride; 2], &[padding; 4])))
    }

    /// Adds what a module that is called `at` makes of `from`, and returns the name of its value. Nothing follows the feature.
    fn add(&mut self, at: &str, module: &Module, from: String) -> anyhow::Result<String> {
        if self.feature.is_some() {
            return Ok(from);
        }
        Ok(match module {
            Module::Conv { kernel, stride, padding, bias, .. } => {
                self.conv(at, &from, *bias, (*kernel, *stride, *padding))?
            }
            Module::Norm(_) => {
                let mut names = vec![from];
                for name in ["weight", "bias", "running_mean", "running_var"] {
                    names.push(self.tensor(at, name)?);
                }
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.node("BatchNormalization", &names, &[Setting::Real("epsilon", EPSILON as f32)])
            }
            Module::Relu => self.node("Relu", &[&from], &[]),
            Module::Pool { kernel, stride, padding } => {
                self.node("MaxPool", &[&from], &window(&[*kernel; 2], &[*stride; 2], &[*padding; 4]))
            }
            Module::Average => self.node("GlobalAveragePool", &[&from], &[]),
            Module::Flatten => self.node("Flatten", &[&from], &[Setting::One("axis", 1)]),
            Module::Linear(..) => {
                let (weight, bias) = (self.tensor(at, "weight")?, self.tensor(at, "bias")?);
                self.node("Gemm", &[&from, &weight, &bias], &[Setting::One("transB", 1)])
            }
            Module::Sequence(children) => {
                let add = |from, (name, child): &(String, Module)| self.add(&below(at, name), child, from);
                children.iter().try_fold(from, add)?
            }
            Module::Residual(long, short) => {
                let other = self.add(at, short, from.clone())?;
                let body = self.add(at, long, from)?;
                self.node("Add", &[&body, &other], &[])
            }
            Module::Feature => {
                self.feature = Some(from.clone());
                from
            }
            Module::Map(_) | Module::Dropout(_) => from,
        })
    }
}

fn window<'a>(kernel: &'a [i64; 2], stride: &'a [i64; 2], padding: &'a [i64; 4]) -> [Setting<'a>; 3] {
    [Setting::List("kernel_shape", kernel), Setting::List("strides", stride), Setting::List("pads", padding)]
}
