//! filters: the first convolution of a network, as small pictures.

use crate::base::Epoch;
use crate::engine::Plan;
use crate::format::noun::WEIGHTS;
use crate::format::weights::{self, Tensor, Tensors};
use crate::store::{Record, Store};
use crate::views::made::{of_epoch, part};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The first convolution: of AlexNet and VGG16, and of the ResNets.
const FIRST: [&str; 2] = ["features.0.weight", "conv1.weight"];
/// Filters that are shown.
const MOST: usize = 256;
/// Numbers of a filter that is still a small picture.
const LARGEST: usize = 1 << 12;

/// The filters of an epoch's weights, or of those that made the epoch's clusters, or why there are none. Only this tensor is
/// read from the mapped file.
pub(in crate::views) fn filters(plan: &Plan, store: &Store, records: &[Option<Record>], epoch: Epoch) -> Value {
    let before = epoch.0.checked_sub(1).map(Epoch);
    let nodes = [Some(epoch), before].into_iter().flatten();
    let nodes = nodes.filter_map(|epoch| of_epoch(plan, &WEIGHTS, epoch, records));
    let mut said = "No weights of this epoch were made.".to_owned();
    for id in nodes {
        let (node, Some(record)) = (plan.node(id).name(), records[id.index()].as_ref()) else { continue };
        match part(store, record, weights::WEIGHTS.file) {
            Ok(Some(bytes)) => match Tensors::open(&weights::WEIGHTS, &bytes) {
                Ok(tensors) => match FIRST.iter().find_map(|name| tensors.get(name)).and_then(pictures) {
                    Some(found) => {
                        return json!({ "node": node, "shape": found.0, "pixels": STANDARD.encode(found.1) });
                    }
                    None => said = format!("{node} has no first convolution of a size that can be shown."),
                },
                Err(error) => said = format!("{node}: {error}"),
            },
            Ok(None) => {
                said = format!(
                    "The bytes of {node} were evicted, so its filters are missing. keep: [weights] in the pipeline keeps them."
                );
            }
            Err(error) => said = format!("{error:#}"),
        }
    }
    json!({ "said": said })
}

/// Shape and pixels: filters, channels, rows, columns. 128 is 0; the largest number of a filter is 1 or 255.
fn pictures(tensor: &Tensor) -> Option<([usize; 4], Vec<u8>)> {
    let [count, channels, high, wide] = *<&[usize; 4]>::try_from(tensor.shape()).ok()?;
    let each = channels.checked_mul(high)?.checked_mul(wide)?;
    let numbers = tensor.numbers::<f32>().filter(|_| (1..=LARGEST).contains(&each))?;
    let shown = count.min(MOST);
    let pixels = numbers.chunks_exact(each).take(shown).flat_map(|filter| {
        let most = filter.iter().map(|number| number.abs()).filter(|number| number.is_finite()).fold(0.0, f32::max);
        let scale = if most > 0.0 { 127.0 / most } else { 0.0 };
        filter.iter().map(move |number| if number.is_finite() { (128.0 + number * scale).round() as u8 } else { 128 })
    });
    Some(([shown, channels, high, wide], pixels.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Scalar, TensorRef, weights::write_tensors};
    use bytes::Bytes;

    fn tensor(shape: &[usize], numbers: &[f32]) -> Option<([usize; 4], Vec<u8>)> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let tensor = TensorRef { name: FIRST[0], scalar: Scalar::F32, shape, bytes: &bytes };
        let file = write_tensors(Vec::new(), &weights::WEIGHTS, &[tensor], &Default::default()).unwrap();
        let tensors = Tensors::open(&weights::WEIGHTS, &Bytes::from(file)).unwrap();
        pictures(tensors.get(FIRST[0]).unwrap())
    }

    #[test]
    fn each_filter_has_its_own_scale_and_zero_is_grey() {
        let numbers = [0.5, -0.25, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, f32::NAN, -2.0, f32::INFINITY, 1.0];
        let found = tensor(&[3, 2, 1, 2], &numbers).unwrap();
        assert_eq!(found, ([3, 2, 1, 2], vec![192, 96, 128, 255, 128, 128, 128, 128, 128, 1, 128, 192]));
        assert_eq!(tensor(&[2, 2], &[1.0; 4]), None);
        assert_eq!(tensor(&[1, 1, 0, 3], &[]), None);
    }
}
