//! noun: the table of nouns: every artifact there is, its parts, and where people find them.

use super::{
    assignments, centroids, clusters, dataset, evaluation, flows, gallery, manifest, marks, metrics, neighbors,
    oddities, projection, rows, tables, vectors, weights, whitening,
};
use crate::base::Noun;
use crate::base::noun::{FileName, Folder, PartRow, When};

/// Image list of a dataset, and the files that could not be used.
pub const DATASET: Noun = Noun {
    name: "dataset",
    format: 1,
    parts: &[
        PartRow::one(dataset::IMAGES.file, "every image, by image_id").at(Folder::Top, FileName::Plain, When::Always),
        PartRow::one(dataset::BAD.file, "files that could not be used").at(Folder::Top, FileName::Plain, When::Always),
        PartRow::one(dataset::PACK, "the images themselves, one after the other"),
    ],
    tables: None,
};

/// Deterministic centre crops, u8 RGB.
pub const CROPS: Noun = Noun {
    name: "crops",
    format: 2,
    parts: &[PartRow::many(rows::PART, "pixels, a row for each image").at(
        Folder::Own,
        FileName::Plain,
        When::AskedFor,
    )],
    tables: None,
};

/// A network's parameters and its momentum, and how it was trained.
pub const WEIGHTS: Noun = Noun {
    name: "weights",
    format: 1,
    parts: &[
        FIRST_WEIGHTS.parts[0],
        PartRow::one(weights::MOMENTUM.file, "momentum of the body"),
        PartRow::one(metrics::STEPS.file, "loss and learning rate of every step").spared(),
        BANK,
    ],
    tables: Some(&[]),
};
const BANK: PartRow = PartRow::many(vectors::BANK, "projections of a crop of each image, as training saw them");

/// The same before the first epoch, without training.
pub const FIRST_WEIGHTS: Noun = Noun {
    name: "weights",
    format: 1,
    parts: &[PartRow::one(weights::WEIGHTS.file, "parameters, as PyTorch's load_state_dict takes them").at(
        Folder::Own,
        FileName::Epoch("safetensors"),
        When::Kept,
    )],
    tables: None,
};

/// The same with a bank, before the first epoch of DeepCluster-v2.
pub const FIRST_BANK: Noun = Noun { name: "weights", format: 1, parts: &[FIRST_WEIGHTS.parts[0], BANK], tables: None };

/// Raw network outputs.
pub const FEATURES: Noun = Noun {
    name: "features",
    format: 2,
    parts: &[PartRow::many(rows::PART, "the network's output, a row for each image").at(
        Folder::Own,
        FileName::Plain,
        When::AskedFor,
    )],
    tables: None,
};

/// Whitened, L2-normalised features, and the whitening.
pub const VECTORS: Noun = Noun {
    name: "vectors",
    format: 1,
    parts: &[
        // New images are assigned through these.
        PartRow::one(whitening::WHITENING.file, "eigenvalues and components")
            .at(WHITENING, FileName::Plain, ASKED)
            .spared(),
        PartRow::one(whitening::MEAN.file, "mean of the features").at(WHITENING, FileName::Plain, ASKED).spared(),
        PartRow::many(rows::PART, "what is clustered, a row for each image").at(Folder::Own, FileName::Plain, ASKED),
    ],
    tables: None,
};
const WHITENING: Folder = Folder::Beside("whitening");
const ASKED: When = When::AskedFor;

/// Which image is in which cluster, and the centroids.
pub const CLUSTERS: Noun = Noun {
    name: "clusters",
    format: 1,
    parts: &[
        PartRow::one(clusters::CLUSTERS.file, "the cluster of every image"),
        PartRow::one(centroids::CENTROIDS.file, "the centroids and how many images each has").at(
            Folder::Beside("centroids"),
            FileName::Plain,
            When::Kept,
        ),
        PartRow::one(clusters::ITERATIONS.file, "how k-means went"),
    ],
    // The tables show paths and labels beside the clusters.
    tables: Some(&[DATASET.name]),
};

/// The nearest clusters of images that the run has not seen.
pub const ASSIGNMENTS: Noun = Noun {
    name: "assignments",
    format: 1,
    parts: &[PartRow::one(assignments::ASSIGNMENTS.file, "the cluster of every new image, with its path").at(
        Folder::Own,
        FileName::Plain,
        When::Always,
    )],
    tables: None,
};

/// The epoch's reading order.
pub const MANIFEST: Noun = Noun {
    name: "manifest",
    format: 1,
    parts: &[PartRow::one(manifest::MANIFEST.file, "which image is read at which position, and its target")],
    tables: Some(&[]),
};

/// Numbers about a clustering.
pub const METRICS: Noun = Noun {
    name: "metrics",
    format: 1,
    parts: &[PartRow::one(metrics::METRICS.file, "named numbers")],
    tables: Some(&[]),
};

/// Tables for people and for other tools, made from an artifact.
pub const TABLES: Noun = Noun {
    name: "tables",
    format: 1,
    parts: &[
        table(PartRow::one(tables::CLUSTERS.file, "the cluster of every image, with its path and label"), Folder::Own),
        table(PartRow::one(tables::ITERATIONS.file, "how k-means went"), Folder::Beside("iterations")),
        table(PartRow::one(tables::MANIFEST.file, "which image is read at which position"), Folder::Own),
        table(PartRow::one(tables::METRICS.file, "named numbers"), Folder::Own),
        table(PartRow::one(tables::STEPS.file, "loss and learning rate of every step"), Folder::Beside("steps")),
    ],
    tables: None,
};

const fn table(row: PartRow, folder: Folder) -> PartRow {
    row.at(folder, FileName::Table, When::Always)
}

/// What a report shows of a clustering.
pub const GALLERY: Noun = Noun {
    name: "gallery",
    format: 1,
    parts: &[
        PartRow::one(gallery::STATS.file, "a row for each cluster").at(Folder::Own, FileName::Plain, When::Always),
        PartRow::one(gallery::MEMBERS.file, "what the montages show").at(Folder::Own, FileName::Plain, When::Always),
        PartRow::one(gallery::MONTAGES, "the montages, JPEG files one after the other"),
        PartRow::one(gallery::MAP.file, "points of the map"),
        PartRow::one(flows::FLOWS.file, "what each cluster was an epoch ago").at(
            Folder::Own,
            FileName::Plain,
            When::Always,
        ),
        PartRow::one(flows::CONFUSION.file, "in clusters of which label the images of each are").at(
            Folder::Own,
            FileName::Plain,
            When::Always,
        ),
    ],
    tables: None,
};

/// For each image those that are nearest to it.
pub const NEIGHBORS: Noun = Noun {
    name: "neighbors",
    format: 1,
    parts: &[PartRow::one(neighbors::NEIGHBORS.file, "the nearest images of each").at(
        Folder::Own,
        FileName::Plain,
        When::Kept,
    )],
    tables: None,
};

/// Where each image lies on a map of two dimensions.
pub const MAP: Noun = Noun {
    name: "map",
    format: 1,
    parts: &[PartRow::one(projection::PROJECTION.file, "a place for each image").at(
        Folder::Own,
        FileName::Plain,
        When::Kept,
    )],
    tables: None,
};

/// Images to look at: equal files, likely near-duplicates, likely outliers.
pub const ODDITIES: Noun = Noun {
    name: "oddities",
    format: 1,
    parts: &[
        PartRow::one(oddities::ODDITIES.file, "equal files, near-duplicates, outliers; the most striking of each").at(
            Folder::Own,
            FileName::Plain,
            When::Kept,
        ),
        PartRow::one(oddities::NEAREST.file, "the nearest image of each").at(Folder::Own, FileName::Plain, When::Kept),
        PartRow::one(oddities::PICTURES, "their pictures, a JPEG file of tiles"),
    ],
    tables: None,
};

/// Which images show what, where an image may show several things.
pub const MARKS: Noun = Noun {
    name: "marks",
    format: 1,
    parts: &[PartRow::one(marks::MARKS.file, "what each image shows, by label").at(
        Folder::Own,
        FileName::Plain,
        When::Always,
    )],
    tables: None,
};

/// What a network's features are worth.
pub const EVALUATION: Noun = Noun {
    name: "evaluation",
    format: 1,
    parts: &[PartRow::one(evaluation::EVALUATION.file, "measures of each layer, beside a random network's").at(
        Folder::Own,
        FileName::Plain,
        When::Always,
    )],
    tables: None,
};
