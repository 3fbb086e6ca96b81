//! find: the images that have a text in their path.

use crate::base::ImageId;
use crate::format::Dataset;

/// How many images have `text` in their path, and at most `count` of them from the `from`-th on. Case does not matter.
pub(super) fn named(dataset: &Dataset, text: &str, from: usize, count: usize) -> (usize, Vec<ImageId>) {
    let text = text.to_lowercase();
    let (mut total, mut page) = (0, Vec::new());
    for (id, image) in (0..).zip(dataset.iter()) {
        if image.path.to_lowercase().contains(&text) {
            if total >= from && page.len() < count {
                page.push(ImageId(id));
            }
            total += 1;
        }
    }
    (total, page)
}
