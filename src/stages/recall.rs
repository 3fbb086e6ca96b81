//! recall: nothing -> weights, vectors, clusters: what another run made, named by its key; nothing runs.

use crate::engine::{Context, Keep, Noun, Pool, Port, Stage};
use crate::stages::{CLUSTERS, FIRST_WEIGHTS, VECTORS};
use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stage for each noun: the registry knows a verb by what it makes.
macro_rules! recall {
    ($($means:literal, $stage:ident = $verb:literal -> $noun:expr;)*) => {$(
        #[doc = $means]
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $stage {
            /// The text of the key, as its record has it.
            pub key: String,
        }

        impl Stage for $stage {
            const VERB: &'static str = $verb;
            const VERSION: u32 = 1;
            const INPUTS: &'static [Port] = &[];
            // The results of the run that made it show it.
            const OUTPUT: Noun = Noun::plain($noun.name, $noun.format);
            const POOL: Pool = Pool::Light;
            const KEEP: Keep = Keep::All;

            fn recalls(&self) -> Option<&str> {
                Some(&self.key)
            }

            fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
                let name = cx.name();
                bail!(
                    "the store lacks bytes or the record of {name}, which another run made. Run that run's pipeline \
                     again, which rebuilds them, and then this command"
                )
            }
        }
    )*};
}

recall! {
    "Takes the network that another run trained.", RecallWeights = "recall_weights" -> FIRST_WEIGHTS;
    "Takes the whitening that another run fitted.", RecallVectors = "recall_vectors" -> VECTORS;
    "Takes the centroids that another run found.", RecallClusters = "recall_clusters" -> CLUSTERS;
}
