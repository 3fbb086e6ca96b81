//! voc: a folder of PASCAL VOC -> marks: which of its images show which of its classes.

use crate::base::Digest;
use crate::engine::{Context, Facts, Keep, Noun, Pool, Port, Stage};
use crate::format::marks::{MARKS as TABLE, Mark, write_marks};
use crate::stages::MARKS;
use anyhow::{Context as _, anyhow, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where VOC keeps its lists.
const LISTS: &str = "ImageSets/Main";
/// A larger file is no list.
const LARGEST: u64 = 64 << 20;

/// Reads which images show which classes from the lists of a PASCAL VOC folder, such as VOC2007.
///
/// `ImageSets/Main/aeroplane_trainval.txt` has a line for each image: its name and a mark. 1 is shown, -1 is not, and 0 is too
/// difficult to count.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Voc {
    /// The folder, with `ImageSets/Main` and `JPEGImages` in it. It is not part of the key; the lists are.
    #[serde(skip_serializing)]
    pub root: PathBuf,
    /// The set of images to learn from.
    #[serde(default = "default_learn")]
    pub learn: String,
    /// The set of images to measure.
    #[serde(default = "default_measure")]
    pub measure: String,
}

fn default_learn() -> String {
    "trainval".to_owned()
}

fn default_measure() -> String {
    "test".to_owned()
}

impl Stage for Voc {
    const VERB: &'static str = "voc";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Noun = MARKS;
    const POOL: Pool = Pool::Light;
    const KEEP: Keep = Keep::All;
    const OBSERVES: bool = true;

    fn check(&self, _: &Facts) -> anyhow::Result<()> {
        for (name, set) in [("learn", &self.learn), ("measure", &self.measure)] {
            let is_plain = !set.is_empty() && !set.contains(['/', '_', '\0']);
            ensure!(is_plain, "{name} is {set:?}, not the name of a set such as trainval");
        }
        ensure!(self.learn != self.measure, "learn and measure are both {}: measure another set", self.learn);
        Ok(())
    }

    /// The lists' contents.
    fn observe(&self) -> anyhow::Result<Option<Digest>> {
        Ok(Some(self.lists()?.digest()))
    }

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        let lists = self.lists()?;
        ensure!(
            cx.observed() == Some(lists.digest()),
            "the lists in {} have changed since the run looked at them. Run the same command again",
            self.root.join(LISTS).display()
        );
        let marks = lists.marks()?;
        let labels = lists.0.len();
        let images = |held_out: bool| {
            let mut names: Vec<_> = marks.iter().filter(|m| m.held_out == held_out).map(|m| &m.image).collect();
            names.sort_unstable();
            names.dedup();
            names.len()
        };
        cx.note(format!(
            "labels: {labels}; images to learn from: {} ({}), to measure: {} ({})",
            images(false),
            self.learn,
            images(true),
            self.measure
        ));
        cx.write_part(TABLE.file, |out| write_marks(out, &marks).map(drop))
    }
}

/// The lists of each label: to learn from, and to measure, with their paths.
struct Lists(BTreeMap<String, [(PathBuf, String); 2]>);

impl Voc {
    fn lists(&self) -> anyhow::Result<Lists> {
        let folder = self.root.join(LISTS);
        let shown = folder.display();
        let entries = fs::read_dir(&folder).with_context(|| {
            format!("no lists at {shown}; voc's root is the folder that has {LISTS}, such as VOCdevkit/VOC2007")
        })?;
        let mut lists = BTreeMap::new();
        let ending = format!("_{}.txt", self.learn);
        for entry in entries {
            let name = entry.with_context(|| format!("reading {shown}"))?.file_name();
            let Some(name) = name.to_str() else {
                bail!("{shown} has a list whose name is not UTF-8: {}. Rename it", name.display())
            };
            // What macOS keeps of a list beside it is none.
            let Some(label) = name.strip_suffix(&ending).filter(|label| !label.starts_with('.')) else { continue };
            let read = |set: &str| {
                let path = folder.join(format!("{label}_{set}.txt"));
                text_of(&path).map(|text| (path, text))
            };
            lists.insert(label.to_owned(), [read(&self.learn)?, read(&self.measure)?]);
        }
        ensure!(
            !lists.is_empty(),
            "{shown} has no list such as aeroplane{ending}; set voc's learn to a set that is there"
        );
        Ok(Lists(lists))
    }
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let about = fs::metadata(path).with_context(|| format!("no list at {shown}; every label needs both sets"))?;
    ensure!(about.is_file() && about.len() <= LARGEST, "{shown} is no list of images");
    let bytes = fs::read(path).with_context(|| format!("reading {shown}"))?;
    let text =
        String::from_utf8(bytes).map_err(|_| anyhow!("{shown} is no text in UTF-8; replace it by a list of images"))?;
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

impl Lists {
    fn digest(&self) -> Digest {
        let mut text = String::new();
        for (label, lists) in &self.0 {
            for (_, list) in lists {
                text += &format!("{label:?} {}\n", Digest::of(list.as_bytes()));
            }
        }
        Digest::of(text.as_bytes())
    }

    fn marks(&self) -> anyhow::Result<Vec<Mark>> {
        let mut marks = Vec::new();
        for (label, lists) in &self.0 {
            for (held_out, (path, text)) in [false, true].into_iter().zip(lists) {
                let mut some = Vec::new();
                for (line, number) in text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty()) {
                    let mut words = line.split_whitespace();
                    let (image, mark, rest) = (words.next(), words.next(), words.next());
                    let mark = match mark.map(str::parse::<i32>) {
                        Some(Ok(mark @ -1..=1)) if rest.is_none() => mark,
                        _ => bail!(
                            "{}:{number}: {line:?} is not an image's name and 1, 0 or -1, such as \"000012 -1\"",
                            path.display()
                        ),
                    };
                    let image = image.unwrap_or_default().to_owned();
                    some.push(Mark { label: label.clone(), held_out, image, mark });
                }
                some.sort();
                if let Some(twice) = some.windows(2).find(|two| two[0].image == two[1].image) {
                    bail!("{} has the image {} twice; remove one of its lines", path.display(), twice[0].image);
                }
                marks.extend(some);
            }
        }
        Ok(marks)
    }
}
