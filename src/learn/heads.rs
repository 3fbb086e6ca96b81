//! heads: linear classifiers on several layers of one frozen network, trained together by SGD: the published linear probe.

use super::activations::Tap;
use super::initial::initial_linear;
use super::net::Net;
use super::sgd::{self, SgdOptions};
use super::tensors::{StateDict, named, plain};
use crate::base::Seed;
use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

/// A classifier for each of some layers. Between two steps `weights` and `momentum` are its whole state.
pub struct Heads {
    heads: Vec<Head>,
    device: Device,
}

/// The classifier of one layer.
struct Head {
    layer: String,
    /// [classes, dims] and [classes], each with its momentum.
    parameters: [(Tensor, Tensor); 2],
}

const NAMES: [&str; 2] = ["weight", "bias"];

impl Heads {
    /// As PyTorch begins: weights and biases uniform within one over the root of a layer's numbers.
    pub fn new(taps: &[Tap], classes: usize, seed: &Seed, device: Device) -> Result<Self> {
        let head = |tap: &Tap| {
            let (weight, bias) = initial_linear(&tap.name, classes, tap.dims(), seed)?;
            let with_momentum = |tensor: Tensor| {
                let here = tensor.f_to_device(device)?;
                Ok::<_, anyhow::Error>((here.shallow_clone(), here.f_zeros_like()?))
            };
            Ok(Head { layer: tap.name.clone(), parameters: [with_momentum(weight)?, with_momentum(bias)?] })
        };
        Ok(Self { heads: taps.iter().map(head).collect::<Result<_>>()?, device })
    }

    /// Takes up a state that was saved.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape. Then nothing is taken up.
    pub fn resume(&mut self, weights: &StateDict, momentum: &StateDict) -> Result<()> {
        let mut found = Vec::with_capacity(self.heads.len());
        for Head { layer, parameters } in &self.heads {
            let of = |state: &StateDict, at: usize| {
                let (name, sides) = (format!("{layer}.{}", NAMES[at]), parameters[at].0.size());
                Ok::<_, anyhow::Error>(plain(named(state, &name, &sides)?)?.f_to_device(self.device)?)
            };
            found.push([(of(weights, 0)?, of(momentum, 0)?), (of(weights, 1)?, of(momentum, 1)?)]);
        }
        self.heads.iter_mut().zip(found).for_each(|(head, parameters)| head.parameters = parameters);
        Ok(())
    }

    /// Weights and biases by names such as `conv5.weight`.
    pub fn weights(&self) -> Result<StateDict> {
        self.state(|(tensor, _)| tensor)
    }

    /// Their momentum.
    pub fn momentum(&self) -> Result<StateDict> {
        self.state(|(_, buffer)| buffer)
    }

    fn state(&self, of: fn(&(Tensor, Tensor)) -> &Tensor) -> Result<StateDict> {
        let heads = self.heads.iter();
        let all = heads.flat_map(|head| head.parameters.iter().zip(NAMES).map(move |pair| (&head.layer, pair)));
        all.map(|(layer, (both, name))| Ok((format!("{layer}.{name}"), plain(of(both))?))).collect()
    }

    /// One step of every head, on the pooled maps of a batch: [n, dims] for each layer. Returns each head's cross-entropy
    /// before it, in nats.
    ///
    /// # Errors
    /// If a loss is not finite: the learning rate is too high for that layer.
    pub fn step(&mut self, maps: &[Tensor], labels: &[u32], options: &SgdOptions) -> Result<Vec<f64>> {
        let _guard = tch::no_grad_guard();
        let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
        let targets = Tensor::f_from_slice(&labels)?.f_to_device(self.device)?.f_unsqueeze(1)?;
        let mut losses = Vec::with_capacity(self.heads.len());
        for (Head { layer, parameters }, map) in self.heads.iter_mut().zip(maps) {
            let [(weight, weight_buffer), (bias, bias_buffer)] = parameters;
            let logs = map.f_linear(weight, Some(&*bias))?.f_log_softmax(1, Kind::Float)?;
            let loss = -logs.f_gather(1, &targets, false)?.f_mean(Kind::Double)?.f_double_value(&[])?;
            ensure!(loss.is_finite(), "the loss of {layer}'s classifier is {loss}; lower lr");
            losses.push(loss);
            // Of the mean cross-entropy by the scores: shares less targets, over the images of the batch.
            let ones = Tensor::f_full_like(&targets, -1.0)?.f_to_kind(Kind::Float)?;
            let slope = logs.f_exp()?.f_scatter_add(1, &targets, &ones)?.f_div_scalar(labels.len() as f64)?;
            let gradient = slope.f_tr()?.f_matmul(map)?.f_contiguous()?;
            sgd::step(weight, &gradient, Some(weight_buffer), options)?;
            let gradient = slope.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Float)?;
            sgd::step(bias, &gradient, Some(bias_buffer), options)?;
        }
        Ok(losses)
    }

    /// The share that each head gives each class: [n, classes] for each layer.
    pub fn shares(&self, maps: &[Tensor]) -> Result<Vec<Tensor>> {
        let _guard = tch::no_grad_guard();
        let share = |(head, map): (&Head, &Tensor)| {
            let [(weight, _), (bias, _)] = &head.parameters;
            Ok(map.f_linear(weight, Some(bias))?.f_softmax(1, Kind::Float)?)
        };
        self.heads.iter().zip(maps).map(share).collect()
    }
}

/// The class with the largest share in the sum of several crops' shares; each crop has a tensor [n, classes].
pub fn likeliest(shares: &[Tensor]) -> Result<Vec<u32>> {
    let _guard = tch::no_grad_guard();
    let sum = Tensor::f_stack(shares, 0)?.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Float)?;
    let best = sum.f_argmax(1, false)?.f_to_device(Device::Cpu)?;
    Ok(Vec::<i64>::try_from(best)?.into_iter().map(|class| class as u32).collect())
}

/// The pooled maps of some layers, in the order of `taps`: [n, dims] in single precision, on the network's device.
pub fn maps(net: &Net, taps: &[Tap], pixels: &[u8], n: usize) -> Result<Vec<Tensor>> {
    let _guard = tch::no_grad_guard();
    let Some(last) = taps.iter().map(|tap| tap.at).max() else { return Ok(Vec::new()) };
    let mut found: Vec<Option<Tensor>> = taps.iter().map(|_| None).collect();
    net.layers(pixels, n, last, &mut |at, map| {
        if let Some(place) = taps.iter().position(|tap| tap.at == at) {
            found[place] = Some(taps[place].pooled(map)?.f_to_kind(Kind::Float)?.f_contiguous()?);
        }
        Ok(())
    })?;
    let found: Option<Vec<Tensor>> = found.into_iter().collect();
    found.ok_or_else(|| anyhow::anyhow!("BUG: the network passed a layer by"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::activations::taps;
    use crate::learn::arch::NetShape;

    fn shape() -> NetShape {
        serde_json::from_str(r#"{"arch":"alexnet","sobel":true,"input":64}"#).unwrap()
    }

    #[test]
    fn steps_are_those_of_torchs_own_gradient_and_sgd() {
        let seed = Seed::of_node(31, "heads");
        let taps: Vec<Tap> =
            taps(&shape()).into_iter().filter(|tap| tap.name == "conv5" || tap.name == "fc2").collect();
        let mut heads = Heads::new(&taps, 3, &seed, Device::Cpu).unwrap();
        let options = SgdOptions { lr: 0.1, momentum: 0.9, weight_decay: 0.01 };
        let mut due: Vec<_> = heads.weights().unwrap().into_values().map(|t| t.set_requires_grad(true)).collect();
        let mut buffers: Vec<Tensor> = due.iter().map(Tensor::zeros_like).collect();
        for number in 0..4 {
            let mut stream = seed.stream("maps", number);
            let mut drawn = |count: usize| -> Vec<f32> {
                (0..count).map(|_| crate::base::draw::between(&mut stream, -1.0, 1.0) as f32).collect()
            };
            let maps: Vec<Tensor> = taps
                .iter()
                .map(|tap| Tensor::from_slice(&drawn(5 * tap.dims())).view([5, tap.dims() as i64]))
                .collect();
            let labels = [0, 2, 1, 1, (number % 3) as u32];
            let losses = heads.step(&maps, &labels, &options).unwrap();
            let targets = Tensor::from_slice(&labels.map(i64::from));
            // By name, bias comes before weight.
            for (layer, (map, loss)) in maps.iter().zip(losses).enumerate() {
                let score = map.linear(&due[2 * layer + 1], Some(&due[2 * layer]));
                let theirs = score.cross_entropy_for_logits(&targets);
                assert!((theirs.double_value(&[]) - loss).abs() < 1e-5);
                theirs.backward();
            }
            tch::no_grad(|| {
                for (tensor, buffer) in due.iter_mut().zip(&mut buffers) {
                    *buffer = &*buffer * options.momentum + tensor.grad() + &*tensor * options.weight_decay;
                    let _ = tensor.subtract_(&(&*buffer * options.lr));
                    tensor.zero_grad();
                }
            });
        }
        for (found, due) in heads.weights().unwrap().values().zip(&due) {
            assert!((found - due).abs().max().double_value(&[]) < 1e-5);
        }
        let mut again = Heads::new(&taps, 3, &Seed::of_node(1, "other"), Device::Cpu).unwrap();
        again.resume(&heads.weights().unwrap(), &heads.momentum().unwrap()).unwrap();
        assert!(again.weights().unwrap().values().zip(heads.weights().unwrap().values()).all(|(a, b)| a == b));
    }
}
