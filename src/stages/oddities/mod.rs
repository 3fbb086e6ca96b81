//! oddities: clusters, neighbors, crops -> oddities: images to look at: copies, likely near-duplicates and outliers.

mod groups;

use crate::base::ImageId;
use crate::engine::{Context, Device, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::dataset::IMAGES;
use crate::format::neighbors::{NEIGHBORS as KIND, Neighbors};
use crate::format::oddities::{self, Oddity, Why, write_nearest};
use crate::format::rows::PART;
use crate::format::{Clusters, Dataset, Rows, clusters, crops};
use crate::image::{CentreView, JPEG_LIBRARY, Picture, Sheet, encode_jpeg};
use crate::stages::{CLUSTERS, CROPS, DATASET, NEIGHBORS, ODDITIES};
use anyhow::{Context as _, ensure};
use groups::{Group, copies, farthest, loneliest, near};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lists images to look at: files of the same bytes, and images whose vectors are nearly equal. It also lists those that are
/// farthest from all others, or from their centroid. Without neighbours it lists the first and the last kind.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oddities {
    /// Groups of each list, the most striking first.
    #[serde(default = "default_groups")]
    #[schemars(range(min = 1, max = 1000))]
    pub groups: u32,
    /// Images of a group that are listed.
    #[serde(default = "default_images")]
    #[schemars(range(min = 2, max = 100))]
    pub images: u32,
    /// Images are near up to this share of the median squared distance between an image and its nearest.
    #[serde(default = "default_near")]
    #[schemars(range(min = 0, max = 1))]
    pub near: f64,
    /// Side of a picture, in pixels.
    #[serde(default = "default_tile")]
    #[schemars(range(min = 8, max = 128))]
    pub tile: u32,
}

/// Tiles in a row of pictures: so many rows of tiles fit a JPEG file.
const COLUMNS: u32 = 40;
/// Of libjpeg, for pictures that are looked at in passing.
const QUALITY: u8 = 75;

fn default_groups() -> u32 {
    100
}

fn default_images() -> u32 {
    6
}

fn default_near() -> f64 {
    0.1
}

fn default_tile() -> u32 {
    64
}

impl Stage for Oddities {
    const VERB: &'static str = "oddities";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::required("dataset", DATASET.name).reading(IMAGES.files()),
        Port::required("clusters", CLUSTERS.name).reading(clusters::CLUSTERS.files()),
        Port::optional("neighbors", NEIGHBORS.name).reading(KIND.files()),
        Port::optional("crops", CROPS.name),
    ];
    const OUTPUT: Noun = ODDITIES;
    const POOL: Pool = Pool::Cpu;
    const KEEP: Keep = Keep::All;

    fn numerics(&self, _: &Device) -> Option<String> {
        Some(JPEG_LIBRARY.to_owned())
    }

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        let range = |name, value: u32, from: u32, to: u32| {
            ensure!((from..=to).contains(&value), "{name} is {value}, not between {from} and {to}");
            Ok(())
        };
        range("groups", self.groups, 1, 1000)?;
        range("images", self.images, 2, 100)?;
        range("tile", self.tile, 8, 128)?;
        ensure!((0.0..=1.0).contains(&self.near), "near is {}, not between 0 and 1", self.near);
        let most = u64::from(self.groups) * (3 * u64::from(self.images) + 2);
        ensure!(most <= 4000, "groups and images are {most} pictures, more than 4000; take fewer");
        Ok(())
    }

    fn estimate(&self, facts: &Facts) -> Option<u64> {
        let pictures = u64::from(self.groups) * 8 * u64::from(self.tile).pow(2) * 3 / 8;
        Some(pictures + facts.get("images").map_or(0, |images| images * 8))
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let dataset = Dataset::open(&cx.input("dataset")?.part(IMAGES.file)?)?;
        let clusters = Clusters::open(&cx.input("clusters")?.part(clusters::CLUSTERS.file)?)?;
        let images = clusters.cluster_id.len();
        ensure!(images == dataset.len(), "{images} images were clustered, the dataset has {}", dataset.len());
        let neighbors = match cx.input_if_any("neighbors") {
            Some(neighbors) => Some(Neighbors::open(&neighbors.part(KIND.file)?)?),
            None => None,
        };
        let known = neighbors.as_ref().map_or(images, Neighbors::rows);
        ensure!(images == known, "{images} images were clustered, {known} have neighbours");
        cx.checkpoint()?;
        let digests: Vec<_> = dataset.iter().map(|image| image.digest).collect();
        let copies = copies(&digests);
        let mut found = [copies.len() as u64, 0, 0];
        let mut lists = vec![(Why::Copies, copies)];
        let mut limits = None;
        if let Some(neighbors) = &neighbors {
            let nearest: Vec<(ImageId, f32)> =
                (0..images).map(|row| first(neighbors, row)).collect::<Result<_, _>>()?;
            let limit = limit(&nearest, self.near);
            limits = Some(limit);
            let is_in_one = |group: &Group| {
                let mut ids = group.images.iter().map(|(image, _)| clusters.cluster_id[image.index()]);
                let first = ids.next();
                ids.all(|id| Some(id) == first)
            };
            // Those that are equal files have a list of their own.
            let is_new = |group: &Group| {
                let of = |image: &ImageId| digests[image.index()];
                group.images.iter().any(|(image, _)| of(image) != of(&group.images[0].0))
            };
            let groups = near(neighbors, limit.0).into_iter().filter(is_new);
            let (within, across): (Vec<_>, Vec<_>) = groups.partition(is_in_one);
            (found[1], found[2]) = (within.len() as u64, across.len() as u64);
            lists.extend([(Why::NearWithin, within), (Why::NearAcross, across)]);
            lists.push((Why::Lone, loneliest(&nearest, self.groups as usize)));
            cx.write_part(oddities::NEAREST.file, |out| write_nearest(out, &nearest).map(drop))?;
        }
        lists.push((Why::Far, farthest(&clusters, self.groups as usize)));
        cx.checkpoint()?;
        let rows = lists.iter().flat_map(|(why, groups)| self.rows(*why, groups, &clusters, &dataset)).collect();
        let table = oddities::Oddities { tile: self.tile, columns: COLUMNS, near: limits, found, rows };
        let mut pictures = Vec::new();
        if let Some(input) = cx.input_if_any("crops") {
            let (pixels, crop) = crops::open(&input.parts(PART)?)?;
            pictures = self.pictures(&pixels, crop, &table.rows)?;
        }
        cx.write_part(oddities::ODDITIES.file, |out| table.write(out).map(drop))?;
        cx.write_part(oddities::PICTURES, |out| out.write_all(&pictures))
    }
}

impl Oddities {
    /// The rows of a list: of each group the first images.
    fn rows(&self, why: Why, groups: &[Group], clusters: &Clusters, dataset: &Dataset) -> Vec<Oddity> {
        let row = |group: u32, images: usize, (image, distance): (ImageId, f32)| {
            let known = dataset.image(image);
            Oddity {
                why,
                group,
                images: images as u64,
                image,
                path: known.path.to_owned(),
                label: known.label.to_owned(),
                cluster: clusters.cluster_id[image.index()],
                distance,
            }
        };
        let groups = (0..).zip(groups).take(self.groups as usize);
        let rows = groups.flat_map(|(nth, group)| {
            let listed = group.images.iter().take(self.images as usize);
            listed.map(move |image| (nth, group.images.len(), *image))
        });
        rows.map(|(nth, images, image)| row(nth, images, image)).collect()
    }

    /// A JPEG file of a tile for each row; no bytes for no rows.
    fn pictures(&self, pixels: &Rows<u8>, crop: u32, rows: &[Oddity]) -> anyhow::Result<Vec<u8>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut sheet = Sheet::new(rows.len(), self.tile, COLUMNS);
        let view = CentreView { short_side: self.tile, crop: self.tile };
        let mut square = vec![0; view.bytes()];
        for (at, row) in rows.iter().enumerate() {
            let rgb = pixels.image(row.image).with_context(|| format!("image {} has no crop", row.image))?.to_vec();
            view.render(&Picture { width: crop, height: crop, rgb }, &mut square);
            sheet.place(at, &square);
        }
        let jpeg = encode_jpeg(&sheet.picture(), QUALITY);
        ensure!(!jpeg.is_empty(), "the pictures are larger than a JPEG file can be: take fewer groups");
        Ok(jpeg)
    }
}

/// The nearest image of a row.
fn first(neighbors: &Neighbors, row: usize) -> anyhow::Result<(ImageId, f32)> {
    let (id, distance) = neighbors.of(row).next().with_context(|| format!("image {row} has no neighbours"))?;
    Ok((ImageId(id as u32), distance))
}

/// The squared distance up to which images are near, and the median of distances to the nearest.
fn limit(nearest: &[(ImageId, f32)], share: f64) -> (f32, f32) {
    let mut distances: Vec<f32> = nearest.iter().map(|(_, distance)| *distance).collect();
    if distances.is_empty() {
        return (0.0, 0.0);
    }
    let middle = distances.len() / 2;
    let median = *distances.select_nth_unstable_by(middle, f32::total_cmp).1;
    ((share * f64::from(median)) as f32, median)
}
