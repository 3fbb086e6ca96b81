//! draw: which images a probe learns from and which it is measured on; the same of every network.

use crate::base::{Digest, ImageId};
use crate::format::Dataset;
use std::collections::{BTreeMap, BTreeSet};

/// An image of one of the two data sets, with its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    /// Whether it is of the data set at the port `val`.
    pub of_val: bool,
    /// Which image.
    pub image: ImageId,
    /// Rank among the labels that occur; 0 without labels.
    pub class: u32,
}

/// The images of a probe.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    /// Those to learn from, in the order of the data set; then those to measure on.
    pub picks: Vec<Pick>,
    /// How many of them are to learn from.
    pub learned: usize,
    /// Labels that occur; 0 if there are fewer than two.
    pub classes: u32,
    /// The images to learn from, as mixed as they can be: each stretch has every label at about its share.
    pub mixed: Vec<usize>,
    /// What a person must know of the draw.
    pub notes: Vec<String>,
}

impl Drawn {
    /// The images to learn from in mixed batches of one size. A smaller last batch would count as much as the others. It is
    /// left out, unless it is the only one.
    pub(super) fn batches(&self, size: usize) -> impl Iterator<Item = &[usize]> {
        let whole = self.mixed.len() / size * size;
        let mixed = if whole > 0 { &self.mixed[..whole] } else { &self.mixed[..] };
        mixed.chunks(size)
    }

    /// Names the images, their labels and their sides.
    pub(super) fn digest(&self, dataset: &Dataset, val: Option<&Dataset>) -> Digest {
        let mut text = format!("dcpipe draw {} {}\n", self.learned, self.classes);
        for pick in &self.picks {
            let images = val.filter(|_| pick.of_val).unwrap_or(dataset);
            text += &format!("{} {}\n", images.image(pick.image).digest, pick.class);
        }
        Digest::of(text.as_bytes())
    }
}

/// How many images are drawn.
pub(super) struct Sizes {
    /// Share of the labelled images that is held out.
    pub held_out: f64,
    /// Images to learn from, at most.
    pub learned: usize,
    /// Images to measure on, at most.
    pub measured: usize,
    /// Draws differ by it.
    pub seed: u64,
}

/// An image with its place within its label, from 0 to 1.
struct Placed {
    place: f64,
    held_out: bool,
    rank: Digest,
    image: ImageId,
    label: i32,
}

/// Draws the images. Without two labels, every image is there to learn from. With `val`, its images are measured. Without
/// it, a share of each label is held out. The seed and an image's bytes decide. So copies of an image under one label are on
/// one side, and a new image moves few others.
pub(super) fn draw(dataset: &Dataset, val: Option<&Dataset>, sizes: &Sizes) -> Drawn {
    if dataset.labels().len() < 2 {
        return unlabelled(
            dataset,
            sizes,
            "the images have fewer than two labels, so only effective_dims is measured. Labels are names of folders: see \
             whether the data set's root is a folder of folders",
        );
    }
    if val.is_some_and(|val| val.labels().is_empty()) {
        return unlabelled(
            dataset,
            sizes,
            "the images at val have no labels, so only effective_dims is measured, of the images at dataset. Labels are \
             names of folders: give val a folder of folders, or disconnect val and val_crops",
        );
    }
    let names: BTreeMap<&str, u32> = {
        let mut names: Vec<&str> = dataset.labels().iter().map(String::as_str).collect();
        names.extend(val.iter().flat_map(|val| val.labels().iter().map(String::as_str)));
        names.sort_unstable();
        names.dedup();
        names.into_iter().zip(0..).collect()
    };
    let (measured, learned, labels) = match val {
        Some(val) => (placed(val, sizes, true), placed(dataset, sizes, true), val.labels()),
        None => {
            let (out, rest): (Vec<_>, Vec<_>) =
                placed(dataset, sizes, true).into_iter().partition(|placed| placed.held_out);
            (out, rest, dataset.labels())
        }
    };
    // Neighbours among copies of one image would always be right.
    if val.is_none() && sizes.held_out > 0.0 && measured.is_empty() {
        return unlabelled(
            dataset,
            sizes,
            "no label has an image that can be held out (copies stay together), so only effective_dims is measured. Add images, \
             or connect val and val_crops",
        );
    }
    let (learned, measured) = (most(learned, sizes.learned), most(measured, sizes.measured));
    let notes = val.map_or_else(Vec::new, |val| notes_on(val, &measured, dataset, &learned));
    let class = |labels: &[String], label: i32| names[labels[label as usize].as_str()];
    let measured = measured.into_iter().map(|placed| Pick {
        of_val: val.is_some(),
        image: placed.image,
        class: class(labels, placed.label),
    });
    Drawn { notes, ..arranged(&learned, measured.collect(), &names, |label| class(dataset.labels(), label)) }
}

/// What makes accuracies at `val` untrue: images that are learned from as well, and labels that are not.
fn notes_on(val: &Dataset, measured: &[Placed], dataset: &Dataset, learned: &[Placed]) -> Vec<String> {
    let known: BTreeSet<Digest> = learned.iter().map(|placed| dataset.image(placed.image).digest).collect();
    let shared = measured.iter().filter(|placed| known.contains(&val.image(placed.image).digest)).count();
    let mut notes = Vec::new();
    if shared > 0 {
        notes.push(format!(
            "{shared} of {} images at val are copies of images to learn from, so accuracies are too high. Remove them from \
             one of the two folders",
            measured.len()
        ));
    }
    let labels: BTreeSet<&str> =
        learned.iter().map(|placed| dataset.labels()[placed.label as usize].as_str()).collect();
    let is_unknown = |placed: &&Placed| !labels.contains(val.labels()[placed.label as usize].as_str());
    let unknown: Vec<_> = measured.iter().filter(is_unknown).collect();
    if let Some(first) = unknown.first() {
        let label = &val.labels()[first.label as usize];
        notes.push(format!(
            "{} of {} images at val have a label that no image to learn from has, such as {label}. No answer of theirs is \
             right: name the folders alike",
            unknown.len(),
            measured.len()
        ));
    }
    notes
}

/// Every image without its label, for dimensions alone.
fn unlabelled(dataset: &Dataset, sizes: &Sizes, why: &str) -> Drawn {
    let some = most(placed(dataset, sizes, false), sizes.learned);
    Drawn { notes: vec![why.to_owned()], ..arranged(&some, Vec::new(), &BTreeMap::new(), |_| 0) }
}

fn arranged(
    learned: &[Placed],
    mut measured: Vec<Pick>,
    names: &BTreeMap<&str, u32>,
    class: impl Fn(i32) -> u32,
) -> Drawn {
    let mut order: Vec<usize> = (0..learned.len()).collect();
    order.sort_by_key(|at| learned[*at].image);
    let mut mixed = vec![0; learned.len()];
    order.iter().enumerate().for_each(|(row, at)| mixed[*at] = row);
    let pick = |at: &usize| Pick { of_val: false, image: learned[*at].image, class: class(learned[*at].label) };
    let mut picks: Vec<_> = order.iter().map(pick).collect();
    measured.sort_by_key(|pick| pick.image);
    picks.extend(measured);
    Drawn { learned: learned.len(), picks, classes: names.len() as u32, mixed, notes: Vec::new() }
}

/// The first `count` by their places, which keeps the shares of the labels.
fn most(mut all: Vec<Placed>, count: usize) -> Vec<Placed> {
    all.sort_by(|a, b| a.place.total_cmp(&b.place).then(a.rank.cmp(&b.rank)).then(a.image.cmp(&b.image)));
    all.truncate(count);
    all
}

/// Every image, or every labelled one, with its place within its label.
fn placed(dataset: &Dataset, sizes: &Sizes, labelled: bool) -> Vec<Placed> {
    let seed = sizes.seed;
    let mut by_label: BTreeMap<i32, Vec<(Digest, ImageId)>> = BTreeMap::new();
    for (row, (image, label)) in dataset.iter().zip(dataset.label_ids()).enumerate() {
        if *label >= 0 || !labelled {
            let rank = Digest::of(format!("dcpipe probe {seed} {}", image.digest).as_bytes());
            by_label.entry(if labelled { *label } else { -1 }).or_default().push((rank, ImageId(row as u32)));
        }
    }
    let mut all = Vec::with_capacity(dataset.len());
    for (label, mut images) in by_label {
        images.sort_unstable();
        let out = held_out(&images, sizes.held_out);
        let count = images.len() as f64;
        for (at, (rank, image)) in images.into_iter().enumerate() {
            // The first of two images comes before all others, so that a cap leaves small labels in.
            let place = if at == 0 && count > 1.0 { f64::MIN_POSITIVE } else { (at as f64 + 0.5) / count };
            all.push(Placed { place, held_out: out.contains(&rank), rank, image, label });
        }
    }
    all
}

/// The ranks of a label's images that are held out. Copies have one rank and count with their number. A group of them that
/// exceeds the share is learned from, and the next one is tried.
fn held_out(sorted: &[(Digest, ImageId)], share: f64) -> BTreeSet<Digest> {
    let groups = || sorted.chunk_by(|a, b| a.0 == b.0);
    let (count, mut held, mut out) = (sorted.len(), 0, BTreeSet::new());
    for group in groups() {
        let then = held + group.len();
        // Something of each label is left to learn from, at any share.
        if then < count && then as f64 - 0.5 < share * count as f64 {
            held = then;
            out.insert(group[0].0);
        }
    }
    // A small label is measured at any share too: one image, or the fewest copies.
    if share > 0.0 && out.is_empty() {
        let fewest = groups().min_by_key(|group| group.len()).filter(|group| group.len() * 2 <= count);
        out.extend(fewest.map(|group| group[0].0));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Image;
    use crate::format::dataset::write_images;

    /// Some images of labels a, b, c; `content` names an image's bytes.
    fn dataset(count: usize, content: impl Fn(usize) -> usize) -> Dataset {
        labelled(count, content, ["a", "b", "c"])
    }

    fn labelled(count: usize, content: impl Fn(usize) -> usize, labels: [&str; 3]) -> Dataset {
        let paths: Vec<String> = (0..count).map(|at| format!("{}/{at:05}.png", labels[at % 3])).collect();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|at| &paths[*at]);
        let image = |at: usize| Image {
            path: &paths[at],
            digest: Digest::of(content(at).to_string().as_bytes()),
            bytes: 1,
            width: 1,
            height: 1,
            split: "",
            label: labels[at % 3],
            offset: None,
        };
        Dataset::open(&write_images(Vec::new(), order.into_iter().map(image)).unwrap().into()).unwrap()
    }

    const SIZES: Sizes = Sizes { held_out: 0.1, learned: 100_000, measured: 100_000, seed: 0 };

    #[test]
    fn a_tenth_of_each_label_is_held_out_and_nothing_is_on_both_sides() {
        let drawn = draw(&dataset(600, |at| at), None, &SIZES);
        assert_eq!((drawn.picks.len(), drawn.learned, drawn.classes), (600, 540, 3));
        for class in 0..3 {
            assert_eq!(drawn.picks[540..].iter().filter(|pick| pick.class == class).count(), 20);
        }
        let mut images: Vec<_> = drawn.picks.iter().map(|pick| pick.image).collect();
        assert!(images[..540].is_sorted() && images[540..].is_sorted());
        images.sort_unstable();
        images.dedup();
        assert_eq!(images.len(), 600);
        let other = draw(&dataset(600, |at| at), None, &Sizes { seed: 1, ..SIZES });
        assert_ne!(other.picks, drawn.picks);
    }

    #[test]
    fn copies_stay_together_and_any_stretch_of_the_mixed_images_has_all_labels() {
        let data = dataset(900, |at| at % 3 * 100 + at / 3 % 50);
        // Each label has 50 images six times; the share ends within the six.
        let drawn = draw(&data, None, &Sizes { held_out: 0.09, ..SIZES });
        let digest = |pick: &Pick| data.image(pick.image).digest;
        let learned: BTreeSet<_> = drawn.picks[..drawn.learned].iter().map(digest).collect();
        assert!(drawn.picks[drawn.learned..].iter().all(|pick| !learned.contains(&digest(pick))));
        assert!(drawn.learned < 900);
        let mixed = draw(&dataset(900, |at| at), None, &SIZES);
        for stretch in mixed.mixed.chunks_exact(30) {
            let of = |class| stretch.iter().filter(|at| mixed.picks[**at].class == class).count();
            assert!((0..3).all(|class| (8..=12).contains(&of(class))), "{:?}", [of(0), of(1), of(2)]);
        }
    }

    #[test]
    fn caps_keep_the_shares_of_labels_and_small_labels_are_measured() {
        let drawn = draw(&dataset(900, |at| at), None, &Sizes { learned: 90, measured: 30, ..SIZES });
        assert_eq!((drawn.learned, drawn.picks.len()), (90, 120));
        assert!((0..3).all(|class| drawn.picks[..90].iter().filter(|pick| pick.class == class).count() == 30));
        let small = draw(&dataset(6, |at| at), None, &SIZES);
        assert_eq!((small.learned, small.picks.len()), (3, 6));
    }
    #[test]
    fn many_copies_are_learned_from_and_other_images_are_held_out() {
        // Of each label's 100 images, 60 are copies of one.
        let drawn = draw(&dataset(300, |at| if at / 3 < 60 { at % 3 } else { at }), None, &SIZES);
        assert_eq!((drawn.learned, drawn.picks.len()), (270, 300));
        assert!(drawn.picks[270..].iter().all(|pick| pick.image.0 % 100 >= 60), "{:?}", &drawn.picks[270..]);
    }

    #[test]
    fn labels_of_copies_alone_leave_everything_to_learn_from_and_say_so() {
        for held_out in [0.1, 0.5, 0.9] {
            let drawn = draw(&dataset(24, |at| at % 3), None, &Sizes { held_out, ..SIZES });
            assert_eq!((drawn.learned, drawn.picks.len(), drawn.classes, drawn.mixed.len()), (24, 24, 0, 24));
            assert!(drawn.notes[0].contains("only effective_dims"), "{:?}", drawn.notes);
        }
        // A label with one image is never held out whole.
        let ones = draw(&dataset(3, |at| at), None, &Sizes { held_out: 0.9, ..SIZES });
        assert_eq!((ones.learned, ones.classes), (3, 0));
    }
    #[test]
    fn images_at_val_without_labels_or_known_to_training_are_told() {
        let data = dataset(60, |at| at);
        let flat = draw(&data, Some(&labelled(40, |at| 1000 + at, [""; 3])), &SIZES);
        assert_eq!((flat.learned, flat.picks.len(), flat.classes), (60, 60, 0));
        assert!(flat.notes[0].starts_with("the images at val have no labels"), "{:?}", flat.notes);

        let good = draw(&data, Some(&dataset(30, |at| 1000 + at)), &SIZES);
        assert_eq!((good.learned, good.picks.len(), good.classes, good.notes.len()), (60, 90, 3, 0));

        let other = draw(&data, Some(&labelled(30, |at| at * 3, ["a", "b", "other"])), &SIZES);
        assert!(other.notes[0].starts_with("20 of 30 images at val are copies"), "{:?}", other.notes);
        assert!(other.notes[1].starts_with("10 of 30 images at val have a label"), "{:?}", other.notes);
    }
}
