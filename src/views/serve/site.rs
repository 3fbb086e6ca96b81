//! site: what the server answers with, from the newest snapshot of a run and from what was opened for it.

use super::find::named;
use super::index::{Index, Order};
use super::live::Live;
use super::recent::{Recent, held};
use super::snapshot::{Snapshot, Sources};
use super::thumbs::{Crops, Thumbs};
use crate::base::{ClusterId, Digest, Epoch, ImageId};
use crate::engine::{NodeId, Plan};
use crate::format::{Clusters, Dataset, clusters, dataset};
use crate::image::Format;
use crate::stages::originals::Originals;
use crate::store::Store;
use crate::views::made::part;
use crate::views::report::shown::{Sheets, Shown};
use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Looks at a store that a gc holds, 10 ms apart, before a request gives up.
const LOOKS: u32 = 100;
/// Opened epochs that are kept.
const EPOCHS: usize = 4;
/// Tiles of a sheet that is made on request.
const TILES: usize = 12;
/// The form of such sheets: side of a tile, and tiles in a row.
const FORM: (u32, u32) = (72, 6);

/// What is not there: no such epoch, cluster or image, or its bytes are evicted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotThere(pub(super) String);

/// Reads the plan of the run.
pub type Load = Box<dyn Fn() -> anyhow::Result<Plan> + Send + Sync>;

/// Where a run is.
pub struct Place {
    /// Folder of the store.
    pub store: PathBuf,
    /// Folder of the run within the store.
    pub run: PathBuf,
    /// The run's journal.
    pub journal: PathBuf,
    /// Where relative paths of the pipeline begin.
    pub base: PathBuf,
    /// Epoch to show first; without one, the newest that has a gallery.
    pub epoch: Option<u32>,
}

/// A run, as the server shows it.
pub struct Site {
    place: Place,
    load: Load,
    live: Mutex<Live>,
    watch: Mutex<Watch>,
    /// Why the last reading failed.
    failed: Mutex<Option<String>>,
    now: Mutex<Option<Arc<Snapshot>>>,
    data: Recent<Bytes>,
    galleries: Recent<Shown>,
    indexes: Recent<Index>,
    thumbs: Recent<Thumbs>,
    /// None where the crops are evicted.
    crops: Recent<Option<Crops>>,
}

/// What decides whether a snapshot is still the newest.
#[derive(Default)]
struct Watch {
    seen: Option<Seen>,
    /// Snapshots so far.
    number: u64,
}

/// Inode, size and time of the run's files, and changes that the journal tells.
type Seen = (Vec<Option<(u64, u64, i64, i64)>>, u64);

/// A file of the data set.
pub(super) struct Original {
    pub(super) bytes: Bytes,
    pub(super) format: Format,
    /// The last step of its path.
    pub(super) name: String,
}

/// A page of a cluster's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) order: Order,
    pub(super) seed: u64,
    pub(super) from: usize,
    pub(super) count: usize,
}

impl Site {
    /// Nothing is read yet.
    pub fn of(place: Place, load: Load) -> Self {
        let live = Mutex::new(Live::of(place.journal.clone()));
        let (data, galleries, indexes) = (Recent::of(EPOCHS), Recent::of(EPOCHS), Recent::of(EPOCHS));
        let (thumbs, crops) = (Recent::of(1), Recent::of(1));
        let (watch, failed, now) = Default::default();
        Self { place, load, live, watch, failed, now, data, galleries, indexes, thumbs, crops }
    }

    /// Reads what the store has, if that changed.
    ///
    /// # Errors
    /// Where it cannot be read. The last snapshot then stays.
    pub fn refresh(&self) -> anyhow::Result<()> {
        let mut watch = held(&self.watch);
        // Taken before the reading: what changes meanwhile is seen the next time.
        let seen = (self.files(), self.look());
        if watch.seen.as_ref() == Some(&seen) {
            return Ok(());
        }
        let snapshot =
            self.with_store(|store| Snapshot::of((self.load)()?, store, &self.place.journal, watch.number + 1))?;
        *held(&self.now) = Some(Arc::new(snapshot));
        (watch.number, watch.seen) = (watch.number + 1, Some(seen));
        Ok(())
    }

    /// The same. The page tells of a failure.
    pub(super) fn keep_up(&self) {
        let failed = self.refresh().err().map(|error| format!("{error:#}"));
        *held(&self.failed) = failed;
    }

    /// Reads on in the journal, and counts the changes that it tells.
    fn look(&self) -> u64 {
        let mut live = held(&self.live);
        live.look();
        live.changes
    }

    fn files(&self) -> Vec<Option<(u64, u64, i64, i64)>> {
        let look = |name: &str| {
            let meta = std::fs::metadata(self.place.run.join(name)).ok()?;
            Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
        };
        ["pipeline.yaml", "nodes.json", "state.json"].map(look).into()
    }

    /// Opens the store only while it is read: a gc waits for nobody who looks at a page.
    fn with_store<T>(&self, read: impl FnOnce(&Store) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let root = &self.place.store;
        // Opening makes a store where there is none.
        anyhow::ensure!(root.join("FORMAT").is_file(), "the store {} is gone", root.display());
        read(&Store::open_or_wait(root, |looks| looks < LOOKS)?)
    }

    fn now(&self) -> anyhow::Result<Arc<Snapshot>> {
        let now = held(&self.now).clone();
        now.map_or_else(
            || {
                self.refresh()?;
                held(&self.now).clone().context("BUG: no snapshot after a refresh")
            },
            Ok,
        )
    }

    /// Checks that the first page can be shown.
    ///
    /// # Errors
    /// Where the epoch that was asked for has no clusters, or nothing can be read.
    pub fn check(&self) -> anyhow::Result<()> {
        let now = self.now()?;
        self.place.epoch.map_or(Ok(()), |epoch| sources(&now, epoch).map(drop))
    }

    /// Opens what the first requests need.
    pub(super) fn warm(&self) -> anyhow::Result<()> {
        drop(self.data(None)?);
        let now = self.now()?;
        if let Some(epoch) = self.first(&now) {
            let of = sources(&now, epoch)?;
            drop((self.index(&now, of)?, self.thumbs(&now, of)?, self.crops(&now, of)));
        }
        Ok(())
    }

    fn first(&self, now: &Snapshot) -> Option<u32> {
        self.place.epoch.filter(|epoch| now.epochs.contains_key(epoch)).or_else(|| now.newest())
    }

    /// What changes while a run goes. It never waits for the store, which a run may keep busy.
    pub(super) fn state(&self) -> anyhow::Result<Value> {
        let now = self.now()?;
        self.look();
        let epochs: Vec<_> = now.epochs.iter().map(|(epoch, of)| json!([epoch, of.is_shown])).collect();
        let run = held(&self.live).json(&|node| now.usual(node));
        let error = held(&self.failed).clone();
        Ok(json!({
            "version": now.version.short(), "epochs": epochs, "first": self.place.epoch, "newest": now.newest(),
            "run": run, "error": error,
        }))
    }

    /// The page's data of an epoch, or of the first that it shows.
    pub(super) fn data(&self, epoch: Option<u32>) -> anyhow::Result<Arc<Bytes>> {
        let now = self.now()?;
        let epoch = epoch.or_else(|| self.first(&now));
        let of = epoch.map(|epoch| sources(&now, epoch)).transpose()?;
        self.data.get(Digest::of(format!("{} {epoch:?}", now.version).as_bytes()), || {
            let mut data = now.numbers.clone();
            data["shown"] = json!(epoch);
            data["version"] = json!(now.version.short());
            if let (Some(epoch), Some(of)) = (epoch, of) {
                let sheets = format!("sheet/{epoch}/");
                match self.gallery(&now, epoch, of) {
                    Ok(shown) => data["gallery"] = shown.json(&Sheets::At(&sheets)),
                    // Sizes and members are known from the clusters alone.
                    Err(error) => {
                        data["said"] = json!(format!("{error:#}"));
                        match self.index(&now, of) {
                            Ok(index) => {
                                let bare = Shown::bare(index.stats(Epoch(epoch), FORM.0, FORM.1));
                                data["gallery"] = bare.json(&Sheets::At(&sheets));
                            }
                            Err(also) => data["run"]["no_gallery"] = json!(format!("{also:#}")),
                        }
                    }
                }
            }
            if let Some(epoch) = epoch {
                data["filters"] = self.with_store(|store| Ok(now.filters(store, epoch)))?;
            }
            if data["gallery"].is_object() {
                data["gallery"]["sheet_tiles"] = json!(TILES);
            }
            Ok(data.to_string().into())
        })
    }

    fn gallery(&self, now: &Snapshot, epoch: u32, of: &Sources) -> anyhow::Result<Arc<Shown>> {
        let Some(gallery) = of.gallery else {
            let why = format!("Epoch {epoch} has no gallery, so labels, overlaps and the map are missing.");
            return Err(NotThere(why).into());
        };
        if !of.is_shown {
            let why = format!(
                "The bytes of gallery@{epoch} were evicted, so labels, overlaps and the map are missing. Add keep: [gallery] to \
                 the pipeline and run it again"
            );
            return Err(NotThere(why).into());
        }
        let record = now.record(gallery)?;
        let map = of.map.map(|map| now.record(map)).transpose()?;
        let odd = of.oddities.map(|odd| anyhow::Ok((now.noun(odd), now.record(odd)?))).transpose()?;
        let beside = [map, odd.map(|(_, record)| record)].map(|record| record.map(|record| record.artifact.digest()));
        let all = format!("{} {beside:?}", record.artifact.digest());
        let open =
            || self.with_store(|store| Shown::open(store, record)?.with_map(store, map)?.with_oddities(store, odd));
        self.galleries.get(Digest::of(all.as_bytes()), open)
    }

    fn index(&self, now: &Snapshot, of: &Sources) -> anyhow::Result<Arc<Index>> {
        let record = now.record(of.clusters)?;
        self.indexes.get(record.artifact.digest(), || {
            let bytes = self.with_store(|store| part(store, record, clusters::CLUSTERS.file))?;
            let gone = || NotThere(format!("The bytes of {} were evicted.", record.node));
            Ok(Index::of(&Clusters::open(&bytes.ok_or_else(gone)?)?))
        })
    }

    fn thumbs(&self, now: &Snapshot, of: &Sources) -> anyhow::Result<Arc<Thumbs>> {
        let dataset = of.dataset.ok_or_else(|| NotThere("No data set leads to these clusters.".to_owned()))?;
        let (record, root) = (now.record(dataset)?, self.root(now, dataset));
        self.thumbs.get(Digest::of(format!("{} {root:?}", record.artifact.digest()).as_bytes()), || {
            let (images, pack) = self.with_store(|store| {
                let read = |name| part(store, record, name);
                Ok((read(dataset::IMAGES.file)?, read(dataset::PACK)?))
            })?;
            let gone = || NotThere(format!("The bytes of {} were evicted.", record.node));
            let table = Dataset::open(&images.ok_or_else(gone)?)?;
            Ok(Thumbs::of(Originals::of(table, root, pack)?))
        })
    }

    fn root(&self, now: &Snapshot, dataset: NodeId) -> Option<PathBuf> {
        now.root(dataset).map(|root| self.place.base.join(root))
    }

    /// The crops, where their bytes are there. A run may evict or rebuild them, so each snapshot looks anew.
    fn crops(&self, now: &Snapshot, of: &Sources) -> Option<Arc<Option<Crops>>> {
        let record = now.record(of.crops?).ok()?;
        let digest = Digest::of(format!("{} {}", record.artifact.digest(), now.number).as_bytes());
        self.crops.get(digest, || Ok(self.with_store(|store| Crops::open(store, &record.artifact)).ok())).ok()
    }

    /// A page of a cluster's members, with paths and labels.
    pub(super) fn members(&self, epoch: u32, cluster: ClusterId, asked: Asked) -> anyhow::Result<Value> {
        let now = self.now()?;
        let of = sources(&now, epoch)?;
        let (index, thumbs) = (self.index(&now, of)?, self.thumbs(&now, of)?);
        let size = known(&index, epoch, cluster)?;
        let dataset = &thumbs.originals.dataset;
        let page = index.page(cluster, asked.order, asked.seed, asked.from, asked.count);
        let row = |(image, distance): &(ImageId, f32)| {
            let known = (image.index() < dataset.len()).then(|| dataset.image(*image));
            let known =
                known.with_context(|| format!("image {image} was clustered, and the dataset has {}", dataset.len()))?;
            Ok(json!([image, known.path, known.label, distance]))
        };
        let rows = page.iter().map(row).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(json!({ "total": size, "from": asked.from, "rows": rows }))
    }

    /// A page of the images whose path has `text`, with their clusters, in the order of the ids.
    pub(super) fn find(&self, epoch: u32, text: &str, from: usize, count: usize) -> anyhow::Result<Value> {
        let now = self.now()?;
        let of = sources(&now, epoch)?;
        let (index, thumbs) = (self.index(&now, of)?, self.thumbs(&now, of)?);
        let dataset = &thumbs.originals.dataset;
        let (total, page) = named(dataset, text, from, count);
        let rows = page.iter().zip(index.clusters_of(&page)).map(|(image, of)| {
            let known = dataset.image(*image);
            let (cluster, distance) = of.unzip();
            json!([image, known.path, known.label, distance, cluster])
        });
        Ok(json!({ "total": total, "from": from, "rows": rows.collect::<Vec<_>>() }))
    }

    /// A cluster's montage, or a sheet of its nearest members.
    pub(super) fn sheet(&self, epoch: u32, cluster: ClusterId) -> anyhow::Result<Bytes> {
        let now = self.now()?;
        let of = sources(&now, epoch)?;
        let gallery = self.gallery(&now, epoch, of).ok();
        if let Some(montage) = gallery.as_ref().and_then(|shown| shown.montage(cluster)) {
            return Ok(montage);
        }
        let index = self.index(&now, of)?;
        if known(&index, epoch, cluster)? == 0 {
            return Err(NotThere(format!("Cluster {cluster} of epoch {epoch} is empty.")).into());
        }
        let nearest = index.page(cluster, Order::Near, 0, 0, TILES);
        let nearest: Vec<_> = nearest.into_iter().map(|(image, _)| image).collect();
        let (thumbs, crops) = (self.thumbs(&now, of)?, self.crops(&now, of));
        let form = gallery.map_or(FORM, |shown| shown.tiles());
        Ok(thumbs.sheet(crops.as_deref().and_then(Option::as_ref), &nearest, form).into())
    }

    /// A thumbnail of an image, as a JPEG file.
    pub(super) fn thumb(&self, epoch: u32, image: ImageId) -> anyhow::Result<Bytes> {
        let now = self.now()?;
        let of = sources(&now, epoch)?;
        let (thumbs, crops) = (self.thumbs(&now, of)?, self.crops(&now, of));
        is_there(&thumbs, image)?;
        Ok(thumbs.one(crops.as_deref().and_then(Option::as_ref), image)?.into())
    }

    /// The file of an image, which is the one that was scanned.
    pub(super) fn original(&self, epoch: u32, image: ImageId) -> anyhow::Result<Original> {
        let now = self.now()?;
        let thumbs = self.thumbs(&now, sources(&now, epoch)?)?;
        is_there(&thumbs, image)?;
        let bytes = thumbs.originals.bytes(image)?;
        let known = thumbs.originals.dataset.image(image);
        let name = Path::new(known.path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Original { format: Format::of(&bytes)?, bytes, name })
    }
}

fn sources(now: &Snapshot, epoch: u32) -> anyhow::Result<&Sources> {
    let there = || now.epochs.keys().map(u32::to_string).collect::<Vec<_>>().join(", ");
    Ok(now
        .epochs
        .get(&epoch)
        .ok_or_else(|| NotThere(format!("epoch {epoch} has no clusters; there are: {}", there())))?)
}

/// The size of a cluster that there is.
fn known(index: &Index, epoch: u32, cluster: ClusterId) -> anyhow::Result<usize> {
    if cluster.0 >= index.k() {
        return Err(NotThere(format!("epoch {epoch} has no cluster {cluster}; there are {}", index.k())).into());
    }
    Ok(index.size(cluster))
}

fn is_there(thumbs: &Thumbs, image: ImageId) -> anyhow::Result<()> {
    let images = thumbs.originals.dataset.len();
    if image.index() >= images {
        return Err(NotThere(format!("the data set has no image {image}; there are {images}")).into());
    }
    Ok(())
}
