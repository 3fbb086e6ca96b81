//! flows: which images the clusters have in common with those of the epoch before, and which labels they mix.

use super::stats::counts;
use crate::base::ClusterId;
use crate::format::flows::{Confused, Flow, LABELS, MOST};
use crate::format::gallery::ClusterStat;
use crate::format::{Clusters, Dataset};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The largest flows into each cluster, and out of each cluster of the epoch before. Both have the same images.
pub(super) fn flows(now: &Clusters, before: &Clusters) -> Vec<Flow> {
    let sizes = before.sizes();
    let pairs = now.cluster_id.iter().zip(&before.cluster_id).map(|(now, then)| (now.0, then.0));
    let all: Vec<Flow> = counts(pairs)
        .into_iter()
        .map(|((cluster, then), images)| Flow {
            cluster: ClusterId(cluster),
            before: ClusterId(then),
            images,
            before_images: sizes[then as usize],
        })
        .collect();
    let mut is_large = vec![false; all.len()];
    mark(&all, &mut is_large, |flow| flow.cluster);
    mark(&all, &mut is_large, |flow| flow.before);
    all.into_iter().zip(is_large).filter_map(|(flow, is_large)| is_large.then_some(flow)).collect()
}

/// Marks the largest flows of each end; of equals, those of the lowest ids.
fn mark(flows: &[Flow], is_large: &mut [bool], end: impl Fn(&Flow) -> ClusterId) {
    let mut order: Vec<usize> = (0..flows.len()).collect();
    order.sort_by_key(|at| (end(&flows[*at]), Reverse(flows[*at].images), *at));
    for of_one in order.chunk_by(|a, b| end(&flows[*a]) == end(&flows[*b])) {
        of_one.iter().take(MOST).for_each(|at| is_large[*at] = true);
    }
}

/// How many images of each label are in clusters of each main label. Images without a label do not count.
pub(super) fn confusion(clusters: &Clusters, stats: &[ClusterStat], dataset: &Dataset) -> Vec<Confused> {
    let labels = dataset.labels();
    let mut sizes = vec![0_u64; labels.len()];
    dataset.label_ids().iter().filter_map(|id| usize::try_from(*id).ok()).for_each(|id| sizes[id] += 1);
    let mut common: Vec<usize> = (0..labels.len()).collect();
    common.sort_by_key(|id| (Reverse(sizes[*id]), *id));
    common.truncate(LABELS);
    let shown = |id: usize| if common.contains(&id) { labels[id].as_str() } else { "" };
    let names: Vec<&str> = (0..labels.len()).map(shown).collect();
    let main = |cluster: &ClusterStat| {
        let (_, label) = cluster.main_label.as_ref()?;
        labels.binary_search(label).ok().map(|id| names[id])
    };
    let mains: Vec<Option<&str>> = stats.iter().map(main).collect();
    let mut cells: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (cluster, label) in clusters.cluster_id.iter().zip(dataset.label_ids()) {
        if let (Ok(label), Some(main)) = (usize::try_from(*label), mains[cluster.index()]) {
            *cells.entry((names[label], main)).or_default() += 1;
        }
    }
    let cell = |((label, main), images): ((&str, &str), u64)| Confused {
        label: label.to_owned(),
        main: main.to_owned(),
        images,
    };
    cells.into_iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clusters(k: u32, ids: impl Iterator<Item = u32>) -> Clusters {
        let cluster_id: Vec<_> = ids.map(ClusterId).collect();
        let none = vec![0.0; cluster_id.len()];
        Clusters { k, cluster_id, distance: none.clone(), margin: none }
    }

    proptest! {
        #[test]
        fn the_largest_flows_of_both_ends_are_there_and_count_the_images_in_both(
            images in proptest::collection::vec((0_u32..9, 0_u32..7), 0..300),
        ) {
            let (now, before) = (clusters(9, images.iter().map(|pair| pair.0)), clusters(7, images.iter().map(|pair| pair.1)));
            let found = flows(&now, &before);
            let both = |now: u32, then: u32| images.iter().filter(|pair| **pair == (now, then)).count() as u64;
            for flow in &found {
                prop_assert_eq!(flow.images, both(flow.cluster.0, flow.before.0));
                prop_assert_eq!(flow.before_images, images.iter().filter(|pair| pair.1 == flow.before.0).count() as u64);
            }
            let ends: Vec<_> = found.iter().map(|flow| (flow.cluster.0, flow.before.0)).collect();
            prop_assert!(ends.windows(2).all(|pair| pair[0] < pair[1]));
            for (now, then) in (0..9).flat_map(|now| (0..7).map(move |then| (now, then))) {
                let of = both(now, then);
                let larger = [
                    (0..7).filter(|other| both(now, *other) > of).count(),
                    (0..9).filter(|other| both(*other, then) > of).count(),
                ];
                // No flow that has fewer than four larger ones beside it at an end is left out, but for equals.
                let equal = [
                    (0..7).filter(|other| both(now, *other) >= of).count(),
                    (0..9).filter(|other| both(*other, then) >= of).count(),
                ];
                let must = of > 0 && equal.iter().any(|count| *count <= MOST);
                let must_not = of == 0 || larger.iter().all(|count| *count >= MOST);
                prop_assert!(!must || ends.contains(&(now, then)), "{} {}", now, then);
                prop_assert!(!must_not || !ends.contains(&(now, then)), "{} {}", now, then);
            }
        }
    }
}
