//! network: how long the network takes, from u8 pixels to features, and for steps of training.
//!
//! Targets, against PyTorch eager with channels-last and the same weights, 2 cores: features (row 9) of AlexNet 1.5 times as
//! fast, of VGG16 1.15 times, within 1e-4. Steps of AlexNet (row 10) 1.25 times at 224 pixels, and 1.6 times at 64.

use crate::side::{Settings, report, timed, write_floats};
use dcpipe::base::PseudoLabel;
use dcpipe::learn::arch::NetShape;
use dcpipe::learn::net::Net;
use dcpipe::learn::sgd::SgdOptions;
use dcpipe::learn::tensors::StateDict;
use dcpipe::learn::train::{Trainer, head};
use std::path::Path;
use tch::{Device, Tensor};

/// Images of a step whose losses are compared.
const FEW: usize = 32;
/// A rate at which a few steps change little, so that their losses agree.
const SLOW: f64 = 0.001;

/// One repetition. `of` is features or steps.
pub fn one(settings: &Settings) {
    let input = settings.number("input") as u32;
    let arch = serde_json::from_value(settings.text("arch").into()).unwrap();
    let subject = Subject {
        shape: NetShape::new(arch, true, input),
        weights: read(&settings.path("weights")),
        pixels: std::fs::read(settings.path("pixels")).unwrap(),
        batch: settings.number("batch"),
        image: (input * input * 3) as usize,
    };
    match settings.text("of") {
        "features" => subject.features(settings),
        _ => subject.steps(settings),
    }
}

/// A network and its images.
struct Subject {
    shape: NetShape,
    weights: StateDict,
    pixels: Vec<u8>,
    batch: usize,
    image: usize,
}

impl Subject {
    fn features(&self, settings: &Settings) {
        let net = Net::load(&self.shape, &self.weights, Device::Cpu).unwrap();
        let pass = |pixels: &[u8]| -> Vec<f32> {
            let batches = pixels.chunks(self.batch * self.image);
            batches.flat_map(|pixels| net.features(pixels, pixels.len() / self.image).unwrap()).collect()
        };
        pass(&self.pixels[..self.image * 16.min(self.batch)]);
        let (features, spent) = timed(|| pass(&self.pixels));
        if let Some(out) = settings.out() {
            write_floats(&out, "features.f32", &features);
        }
        report(&spent, &serde_json::json!({}));
    }

    fn steps(&self, settings: &Settings) {
        let labels: Vec<PseudoLabel> = (0..self.pixels.len() / self.image)
            .map(|image| PseudoLabel((image % settings.number("k")) as u32))
            .collect();
        let mut trainer = self.trainer(SgdOptions::default(), 0.5);
        let batches = || self.pixels.chunks(self.batch * self.image).zip(labels.chunks(self.batch));
        let (pixels, first) = batches().next().unwrap();
        trainer.step(pixels, first, 1).unwrap();
        let ((), spent) = timed(|| {
            for (number, (pixels, labels)) in (2..).zip(batches()) {
                trainer.step(pixels, labels, number).unwrap();
            }
        });
        let losses = settings.out().map_or_else(Vec::new, |_| {
            let mut trainer = self.trainer(SgdOptions { lr: SLOW, ..SgdOptions::default() }, 0.0);
            let pixels = &self.pixels[..FEW.min(labels.len()) * self.image];
            (0..3).map(|_| trainer.step(pixels, &labels[..pixels.len() / self.image], 0).unwrap().loss).collect()
        });
        report(&spent, &serde_json::json!({ "losses": losses }));
    }

    fn trainer(&self, options: SgdOptions, dropout: f64) -> Trainer {
        let (weight, bias) = head(&self.weights).unwrap();
        let (momentum, head) = (StateDict::new(), (&weight, &bias));
        Trainer::new(&self.shape, &self.weights, &momentum, head, options, dropout, Device::Cpu).unwrap()
    }
}

fn read(path: &Path) -> StateDict {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}
