//! evaluation: what a network's features are worth: measures of each layer, beside those of the network before training.

use super::error::{Result, bad_value};
use super::kind::{Container, Holds, Kind, Metadata, Scalar, field};
use super::table::Table;
use super::table_writer::{Column, write_groups};
use bytes::Bytes;
use std::io::Write;

/// The table of measures.
pub static EVALUATION: Kind = Kind {
    name: "evaluation",
    version: 1,
    file: "evaluation.parquet",
    container: Container::Parquet,
    fields: &[
        field("measure", Holds::Text, "knn, linear: accuracy on held-out images; svm_map; kmeans_*; effective_dims"),
        field("layer", Holds::Text, "such as conv5"),
        field("protocol", Holds::Text, "how it was measured, such as cached"),
        field("k", Holds::One(Scalar::I64), "neighbours or clusters; 0: neither"),
        field(
            "value",
            Holds::One(Scalar::F64),
            "a share or an index from 0 to 1; effective_dims: a number of dimensions",
        ),
        field("random", Holds::One(Scalar::F64), "the same of the network before training; NaN: none was at hand"),
        field("difference", Holds::One(Scalar::F64), "value minus random; NaN: none was at hand"),
        field("learned_from", Holds::One(Scalar::I64), "images that neighbours or weights come from; 0: none"),
        field("images", Holds::One(Scalar::I64), "images that it was measured on"),
        field("classes", Holds::One(Scalar::I64), "labels that occur; 0: it needs none"),
        field("seed", Holds::One(Scalar::I64), "of the draw of the held-out images"),
    ],
    metadata: &[
        (NETWORK_KEY, "calibrated: batch norm's statistics come from these images; as_given: they do not"),
        (NET_KEY, "which network, as in weights"),
        (DRAW_KEY, "digest of the drawn images with their labels; evaluations of one draw are compared"),
        (DECAY_KEY, "pull of the linear classifier's weights towards zero"),
    ],
    rows: "by layer, first layer first",
};

const NETWORK_KEY: &str = "dcpipe.network";
const CALIBRATED: &str = "calibrated";
const NET_KEY: &str = "dcpipe.net";
const DRAW_KEY: &str = "dcpipe.draw";
const DECAY_KEY: &str = "dcpipe.decay";

/// A measure of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// What was measured, such as `knn`.
    pub measure: String,
    /// Of which layer.
    pub layer: String,
    /// How.
    pub protocol: String,
    /// Neighbours or clusters, or 0.
    pub k: u64,
    /// What it is.
    pub value: f64,
    /// What it is of the network before training, where that was measured.
    pub random: Option<f64>,
    /// Images that neighbours or weights come from.
    pub learned_from: u64,
    /// Images that it was measured on.
    pub images: u64,
    /// Labels that occur, or 0.
    pub classes: u64,
    /// Of the draw of the held-out images.
    pub seed: u64,
}

impl Measure {
    /// How much better than before training, where that was measured.
    pub fn difference(&self) -> Option<f64> {
        self.random.map(|random| self.value - random)
    }

    /// Whether two say the same of two networks.
    pub fn is_same_of(&self, other: &Self) -> bool {
        let of = |m: &Self| (m.k, m.learned_from, m.images, m.classes, m.seed);
        (&self.measure, &self.layer, &self.protocol) == (&other.measure, &other.layer, &other.protocol)
            && of(self) == of(other)
    }
}

/// What two evaluations must have in common to be compared, beside each measure's own settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// Which network, as the weights say it.
    pub net: String,
    /// Digest of the drawn images with their labels.
    pub draw: String,
    /// Pull of the linear classifier's weights.
    pub decay: f64,
}

/// The measures of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Whether batch norm's statistics come from the images that were measured.
    pub calibrated: bool,
    /// What was measured.
    pub subject: Subject,
    /// By layer.
    pub measures: Vec<Measure>,
}

impl Evaluation {
    /// Writes `evaluation.parquet`.
    pub fn write<W: Write + Send>(&self, out: W) -> Result<W> {
        self.write_with(out, Metadata::new())
    }

    /// The same with more metadata.
    pub fn write_with<W: Write + Send>(&self, out: W, mut metadata: Metadata) -> Result<W> {
        let network = if self.calibrated { CALIBRATED } else { "as_given" };
        let Subject { net, draw, decay } = &self.subject;
        let pairs = [
            (NETWORK_KEY, network.to_owned()),
            (NET_KEY, net.clone()),
            (DRAW_KEY, draw.clone()),
            (DECAY_KEY, decay.to_string()),
        ];
        metadata.extend(pairs.map(|(key, value)| (key.to_owned(), value)));
        write_groups(out, &EVALUATION, &metadata, self.measures.len(), |rows| {
            let all = || self.measures[rows.clone()].iter();
            let count = |of: fn(&Measure) -> u64| Column::i64(all().map(|m| of(m) as i64));
            vec![
                Column::text(all().map(|m| &m.measure)),
                Column::text(all().map(|m| &m.layer)),
                Column::text(all().map(|m| &m.protocol)),
                count(|m| m.k),
                Column::f64(all().map(|m| m.value)),
                Column::f64(all().map(|m| m.random.unwrap_or(f64::NAN))),
                Column::f64(all().map(|m| m.difference().unwrap_or(f64::NAN))),
                count(|m| m.learned_from),
                count(|m| m.images),
                count(|m| m.classes),
                count(|m| m.seed),
            ]
        })
    }

    /// Reads `evaluation.parquet`.
    pub fn open(bytes: &Bytes) -> Result<Self> {
        let table = Table::open(&EVALUATION, bytes)?;
        let text = |column| Ok(table.text(column)?.iter().map(str::to_owned).collect::<Vec<_>>());
        let count = |column| table.counts(column, i64::MAX as u64);
        let (measure, layer, protocol) = (text("measure")?, text("layer")?, text("protocol")?);
        let (value, random) = (table.f64("value")?, table.f64("random")?);
        let (k, learned_from, images) = (count("k")?, count("learned_from")?, count("images")?);
        let (classes, seed) = (count("classes")?, count("seed")?);
        if let Some(row) = value.iter().position(|value| !value.is_finite()) {
            return Err(bad_value(EVALUATION.tag(), "value", row, "not finite"));
        }
        let row = |row: usize| Measure {
            measure: measure[row].clone(),
            layer: layer[row].clone(),
            protocol: protocol[row].clone(),
            k: k[row],
            value: value[row],
            random: Some(random[row]).filter(|random| random.is_finite()),
            learned_from: learned_from[row],
            images: images[row],
            classes: classes[row],
            seed: seed[row],
        };
        let calibrated = table.metadata.get(NETWORK_KEY).is_some_and(|network| network == CALIBRATED);
        let said = |key| table.metadata.get(key).cloned().unwrap_or_default();
        let subject =
            Subject { net: said(NET_KEY), draw: said(DRAW_KEY), decay: said(DECAY_KEY).parse().unwrap_or_default() };
        Ok(Self { calibrated, subject, measures: (0..table.rows).map(row).collect() })
    }
}
