//! health: signs in the numbers of an epoch that a clustering has collapsed or teaches nothing, and what to do.

/// What is known of a clustering.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs {
    /// Number of centroids.
    pub k: u64,
    /// Clusters without an image.
    pub empty: u64,
    /// How many clusters of equal size are as uneven as these.
    pub perplexity: f64,
    /// Images of which no two have the same bytes.
    pub distinct: u64,
    /// Kinds of labels, of which two at least; otherwise 0.
    pub labels: u64,
    /// NMI with the clustering of the epoch before.
    pub nmi_previous: Option<f64>,
}

/// What metrics of warnings are called before their code.
pub const PREFIX: &str = "warning.";

/// Share of empty clusters that is too many. faiss refills a cluster that is empty during the search, so that few are
/// left at its end. The threshold is ours.
const EMPTY: f64 = 0.1;
/// Share of k below which the perplexity is low. The natural sizes on 500 clusters of a skewed set have a perplexity of
/// 0.44 k. The threshold is ours, and well below.
const UNEVEN: f64 = 0.2;
/// The paper finds k about ten times the number of classes best; fewer than twice is too near to it.
const TOO_NEAR: u64 = 2;
/// NMI at which two clusterings count as equal.
const EQUAL: f64 = 0.999_99;
/// Share of ln(classes) at which a loss is that of guessing.
const CHANCE: f64 = 0.99;
/// Share of it above which the loss is worse, for another reason.
const ABOVE: f64 = 1.1;
/// Fewer steps tell nothing; ours.
const STEPS: usize = 50;

/// The code of each sign that something is wrong, with the number that shows it.
pub fn warnings(signs: &Signs) -> Vec<(&'static str, f64)> {
    let full = signs.k.saturating_sub(signs.empty);
    let mut found = Vec::new();
    if signs.k > signs.distinct {
        found.push(("few_distinct_images", signs.distinct as f64));
    }
    if signs.k > 1 && full <= 1 {
        found.push(("one_cluster", full as f64));
    }
    if !found.is_empty() {
        return found; // Empty clusters and clusters that stay follow from it.
    }
    if signs.empty as f64 > EMPTY * signs.k as f64 {
        found.push(("empty_clusters", signs.empty as f64 / signs.k as f64));
    } else if signs.perplexity < UNEVEN * signs.k as f64 {
        found.push(("uneven_clusters", signs.perplexity));
    }
    if signs.labels > 1 && signs.k < TOO_NEAR * signs.labels {
        found.push(("k_near_labels", signs.labels as f64));
    }
    if let Some(nmi) = signs.nmi_previous.filter(|nmi| full > 1 && *nmi > EQUAL) {
        found.push(("unchanged", nmi));
    }
    found
}

/// How much an epoch could learn.
#[derive(Clone, Copy, Debug)]
pub struct Learning {
    /// The epoch, from 1.
    pub epoch: u32,
    /// Training steps.
    pub steps: usize,
    /// Classes of the head: clusters that are not empty.
    pub classes: u64,
}

impl Learning {
    /// Whether the loss at the epoch's end, in nats, is that of guessing. A head begins at that loss, and the first epoch of
    /// a healthy run may end there: it tells nothing, and a few steps tell nothing either.
    pub fn is_chance(self, loss: f64) -> bool {
        let guessing = (self.classes as f64).ln();
        let tells = self.epoch > 1 && self.steps >= STEPS && self.classes > 1;
        tells && (CHANCE * guessing..=ABOVE * guessing).contains(&loss)
    }
}

/// What a warning says, and what to do.
pub fn text(code: &str, value: f64) -> String {
    match code {
        "one_cluster" => {
            "all images are in one cluster: they are copies, or the features have collapsed. Check them, or lower lr"
                .into()
        }
        "empty_clusters" => {
            format!("{:.0} % of the clusters are empty. Lower k, or check the images for copies", 100.0 * value)
        }
        "uneven_clusters" => {
            format!("sizes are as uneven as if {value:.0} clusters had all images. The features may collapse: lower lr")
        }
        "few_distinct_images" => format!("k is above the number of distinct images, {value:.0}. Lower k"),
        "k_near_labels" => {
            format!("k is below twice the number of labels, {value:.0}. Choose k about ten times the kinds you expect")
        }
        "unchanged" => "the clusters equal those of the epoch before: training changes nothing. Raise lr".into(),
        "loss_at_chance" => {
            format!("the loss of {value:.2} is that of guessing. Train on more images or epochs, or with another lr")
        }
        code => format!("{code}: {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: Signs =
        Signs { k: 100, empty: 1, perplexity: 70.0, distinct: 8000, labels: 10, nmi_previous: Some(0.44) };

    #[test]
    fn a_healthy_clustering_has_no_warning_and_each_sign_has_its_own() {
        let codes = |signs: Signs| warnings(&signs).into_iter().map(|(code, _)| code).collect::<Vec<_>>();
        assert_eq!(codes(HEALTHY), [""; 0]);
        assert_eq!(codes(Signs { nmi_previous: None, labels: 0, ..HEALTHY }), [""; 0]);
        assert_eq!(codes(Signs { empty: 99, perplexity: 1.0, nmi_previous: Some(1.0), ..HEALTHY }), ["one_cluster"]);
        assert_eq!(codes(Signs { empty: 40, ..HEALTHY }), ["empty_clusters"]);
        assert_eq!(codes(Signs { perplexity: 12.0, ..HEALTHY }), ["uneven_clusters"]);
        assert_eq!(codes(Signs { distinct: 99, ..HEALTHY }), ["few_distinct_images"]);
        assert_eq!(codes(Signs { labels: 60, ..HEALTHY }), ["k_near_labels"]);
        assert_eq!(codes(Signs { nmi_previous: Some(1.0), ..HEALTHY }), ["unchanged"]);
        assert_eq!(codes(Signs { distinct: 1, empty: 99, ..HEALTHY }), ["few_distinct_images", "one_cluster"]);
    }

    #[test]
    fn a_loss_is_that_of_guessing_after_the_first_epoch_and_some_steps() {
        let learning = Learning { epoch: 2, steps: 60, classes: 100 };
        assert!(learning.is_chance(4.6) && !learning.is_chance(4.3) && !learning.is_chance(9.0));
        assert!(!Learning { epoch: 1, ..learning }.is_chance(4.6) && !Learning { steps: 5, ..learning }.is_chance(4.6));
        assert!(!Learning { classes: 1, ..learning }.is_chance(0.0));
    }
}
