//! assign: the pipeline that takes new images to the clusters of a finished run, written as text and loaded.
//!
//! It has the run's own stages and parameters. What the run made is recalled by its key. So the run's images are not
//! needed, and nothing of the run is computed again. Only the first weights are drawn again where they are missing.

use crate::engine::{NodeId, Plan, Registry};
use crate::pipeline::error::PipelineError;
use crate::pipeline::load::{Loaded, load_text};
use serde_json::Value;

/// The name of the node whose output is the table.
pub const ASSIGNMENTS: &str = "assignments";

/// The nodes of a run that lead from its images to the clusters of an epoch.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The images.
    pub dataset: NodeId,
    /// Their crops.
    pub crops: NodeId,
    /// The network.
    pub weights: NodeId,
    /// What it makes of the crops.
    pub features: NodeId,
    /// The whitened features.
    pub vectors: NodeId,
    /// Their clusters.
    pub clusters: NodeId,
}

impl Route {
    /// The route to `clusters`, if it leads along the ports of the shipped stages.
    pub fn to(plan: &Plan, clusters: NodeId) -> Option<Self> {
        let read = |id: NodeId, port: &str| {
            let inputs = &plan.node(id).inputs;
            inputs.iter().find(|(name, _)| *name == port).map(|(_, from)| *from)
        };
        let vectors = read(clusters, "vectors")?;
        let features = read(vectors, "features")?;
        let (crops, weights) = (read(features, "crops")?, read(features, "weights")?);
        Some(Self { dataset: read(crops, "dataset")?, crops, weights, features, vectors, clusters })
    }

    /// Whether the weights are the first, which are drawn and not trained.
    pub fn begins(&self, plan: &Plan) -> bool {
        plan.node(self.weights).inputs.is_empty()
    }

    /// Loads the pipeline called `name`, for the images of a folder. `key` has the key text of each recalled node, and
    /// `more` overrides.
    ///
    /// # Errors
    /// If `name` cannot name a run, or if the nodes do not fit together.
    pub fn load(
        &self,
        plan: &Plan,
        name: &str,
        images: &str,
        key: &dyn Fn(NodeId) -> String,
        more: &[String],
        registry: Registry,
    ) -> Result<Loaded, PipelineError> {
        let noun = |id: NodeId| &plan.node(id).noun;
        let with = |id: NodeId| parameters(&plan.node(id).stage.params());
        let Self { dataset, crops, weights, features, vectors, clusters } = *self;
        // Images that the run drew itself leave nothing to scan by.
        let is_scan = plan.node(dataset).stage.def().verb == "scan";
        let scan = if is_scan { with(dataset) } else { String::new() };
        let (dataset, crops_of, network) = (noun(dataset), noun(crops), noun(weights));
        let recall = |id: NodeId, what: &str| {
            format!("  {}: {{ stage: recall_{what}, with: {{ key: \"${{{what}}}\" }} }}\n", noun(id))
        };
        let first = || {
            format!(
                "  {network}: {{ stage: {}, with: {{ {} }} }}\n",
                plan.node(weights).stage.def().verb,
                with(weights)
            )
        };
        let mut text = format!("seed: {}\nkeep: {{ {crops_of}: until_used }}\nonce:\n", plan.seed);
        text += &format!("  {dataset}: {{ stage: scan, with: {{ root: \"${{images}}\", {scan} }} }}\n");
        text += &format!(
            "  {crops_of}: {{ stage: decode, from: {{ dataset: {dataset} }}, with: {{ {} }} }}\n",
            with(crops)
        );
        text += &if self.begins(plan) { first() } else { recall(weights, "weights") };
        text += &recall(vectors, "vectors");
        text += &recall(clusters, "clusters");
        let (of, vectors_of, clusters_of) = (noun(features), noun(vectors), noun(clusters));
        text += &format!(
            "  {of}: {{ stage: extract, from: {{ crops: {crops_of}, weights: {network} }}, with: {{ {} }} }}\n",
            with(features)
        );
        text += &format!(
            "  {ASSIGNMENTS}: {{ stage: assign, from: {{ dataset: {dataset}, features: {of}, vectors: {vectors_of}, \
             clusters: {clusters_of} }} }}\n"
        );
        // The value of a variable is taken as it is, whatever characters it has.
        let mut sets = vec![format!("name={}", Value::from(name)), format!("vars.images={images}")];
        if !self.begins(plan) {
            sets.push(format!("vars.weights={}", key(weights)));
        }
        sets.push(format!("vars.vectors={}", key(vectors)));
        sets.push(format!("vars.clusters={}", key(clusters)));
        // On another processor the network may give other bits: under the run's key, they would replace the run's.
        sets.push(format!("{of}.apart=true"));
        sets.extend_from_slice(more);
        load_text(name, &text, &sets, registry, &|_| None)
    }
}

/// Parameters as they are within braces.
fn parameters(params: &Value) -> String {
    let all = params.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    all.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
}
