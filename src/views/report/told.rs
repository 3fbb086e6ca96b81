//! told: what the report says of each curve, and which numbers are worth a warning.

/// Name of a metric, its title, and how to read it.
pub(super) const CURVES: &[(&str, &str, &str)] = &[
    (
        "nmi_previous",
        "NMI with the epoch before",
        "Agreement of two clusterings in a row. It rises while training settles, and stays below 0.8 on ImageNet.",
    ),
    ("moved_share", "Share that moved", "Share of images that did not follow their old cluster."),
    (
        "nmi_label",
        "NMI with the labels",
        "Agreement with the folders. It grows with k: compare it only between runs of equal k.",
    ),
    (
        "ami_label",
        "AMI with the labels",
        "The same, adjusted for chance: 0 is chance at any k. An NMI of 66 at k = 10,000 on ImageNet is an AMI of about 5.",
    ),
    ("ari_label", "ARI with the labels", "Pairs of images that both groupings put together, adjusted for chance."),
    ("purity_label", "Purity", "Share of images that have their cluster's commonest label. It grows with k."),
    (
        "loss",
        "Training loss",
        "Mean cross-entropy of the last tenth of the steps. ln(classes) means nothing was learned.",
    ),
    ("empty_clusters", "Empty clusters", "Clusters without an image. Many of them mean that features collapse."),
    ("perplexity", "Perplexity of the sizes", "The effective number of clusters. Near k is even; near 1 is collapsed."),
    ("mean_distance", "Mean distance", "Mean squared distance of an image to its centroid; 0 to 4."),
];
