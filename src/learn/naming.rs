//! naming: what other programs call the tensors of a network, both ways.

use super::arch::NetShape;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// Whose names a file of weights has.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// As in the results of a run; the head is top_layer
    #[default]
    Dcpipe,
    /// As torchvision's network of the same name; a ResNet's head is fc
    Torchvision,
    /// As the published files of DeepCluster: features.module.N
    Published,
}

/// What a file may have besides a trunk: heads under their several names, and what an optimizer keeps.
const BESIDE: [&str; 4] = ["top_layer", "projection_head", "prototypes", "optimizer"];
const HEAD: &str = "top_layer";

impl Naming {
    /// Its name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dcpipe => "dcpipe",
            Self::Torchvision => "torchvision",
            Self::Published => "published",
        }
    }

    /// Refuses a network that has no names of this kind.
    pub fn check(self, shape: &NetShape) -> Result<()> {
        let arch = shape.arch;
        let has = match self {
            Self::Dcpipe => true,
            Self::Published => arch.is_published(),
            Self::Torchvision => arch.torchvision_head().is_some(),
        };
        let word = self.word();
        ensure!(has, "{arch:?} has no {word} names: there is no such file of this network; take --naming dcpipe");
        ensure!(
            self != Self::Torchvision || !shape.sobel,
            "torchvision has no network with Sobel filters before it; take --naming dcpipe"
        );
        Ok(())
    }

    /// What a tensor of ours is called there.
    pub fn theirs(self, shape: &NetShape, ours: &str) -> String {
        match self {
            Self::Dcpipe => ours.to_owned(),
            Self::Published => match ours.strip_prefix("features.") {
                Some(rest) => format!("features.module.{rest}"),
                None => ours.to_owned(),
            },
            Self::Torchvision => match (within(ours, HEAD), shape.arch.torchvision_head()) {
                (Some(rest), Some(head)) => format!("{head}{rest}"),
                _ => ours.to_owned(),
            },
        }
    }
}

/// What we call a tensor of a file by any of these namings; none of a head or an optimizer. Training on several GPUs leaves
/// `module.` before a name or within it.
pub fn ours(shape: &NetShape, theirs: &str) -> Option<String> {
    let name = theirs.strip_prefix("module.").unwrap_or(theirs);
    let is_beside = BESIDE.into_iter().chain(shape.arch.torchvision_head()).any(|head| within(name, head).is_some());
    (!is_beside).then(|| match name.strip_prefix("features.module.") {
        Some(rest) => format!("features.{rest}"),
        None => name.to_owned(),
    })
}

/// What follows `module` in the name of a tensor within it.
fn within<'a>(name: &'a str, module: &str) -> Option<&'a str> {
    name.strip_prefix(module).filter(|rest| rest.starts_with('.'))
}

/// Refuses tensors that are not the trunk's, each kind of fault by its first name. `found` are names of ours with shapes, and
/// what the file calls them. A counter of batches may be missing: older files have none, and nothing reads it.
pub fn check_trunk(shape: &NetShape, found: &[(String, &str, Vec<i64>)]) -> Result<()> {
    let trunk = shape.trunk();
    let of = format!("{:?} with sobel: {}", shape.arch, shape.sobel);
    let first = |faults: Vec<String>| match faults.len() {
        0 => Ok(()),
        1 => Err(anyhow::anyhow!("{}", faults[0])),
        count => Err(anyhow::anyhow!("{} (and {} more)", faults[0], count - 1)),
    };
    let due = |name: &str| trunk.iter().find(|(due, _)| due == name).map(|(_, sides)| sides);
    let (mut names, mut twice) = (BTreeSet::new(), Vec::new());
    for (name, theirs, _) in found {
        if !names.insert(name) {
            twice.push(format!("tensor {theirs} is there twice, under two namings"));
        }
    }
    first(twice)?;
    let extra = found.iter().filter(|(name, ..)| due(name).is_none());
    first(
        extra
            .map(|(_, theirs, _)| format!("tensor {theirs} is of another network: {of} has none of that name"))
            .collect(),
    )?;
    let missing = trunk.iter().filter(|(name, _)| !name.ends_with("num_batches_tracked") && !names.contains(name));
    first(
        missing.map(|(name, sides)| format!("tensor {name} is missing: {of} needs it, of shape {sides:?}")).collect(),
    )?;
    let misshapen = found.iter().filter_map(|(name, theirs, sides)| {
        let due = due(name).filter(|due| *due != sides)?;
        Some(format!("tensor {theirs} has shape {sides:?}; {of} at {} pixels needs {due:?}", shape.input))
    });
    first(misshapen.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::arch::Arch;

    #[test]
    fn names_go_out_and_come_back() {
        for arch in Arch::ALL {
            for naming in [Naming::Dcpipe, Naming::Torchvision, Naming::Published] {
                let shape = NetShape::new(*arch, false, 224);
                if naming.check(&shape).is_err() {
                    continue;
                }
                for (name, _) in shape.trunk() {
                    let theirs = naming.theirs(&shape, &name);
                    assert_eq!(ours(&shape, &theirs), Some(name.clone()), "{arch:?} {theirs}");
                    assert_eq!(ours(&shape, &format!("module.{theirs}")), Some(name));
                }
                assert_eq!(ours(&shape, &naming.theirs(&shape, "top_layer.weight")), None, "{arch:?}");
            }
        }
        let shape = NetShape::new(Arch::Alexnet, true, 224);
        assert_eq!(Naming::Published.theirs(&shape, "features.4.weight"), "features.module.4.weight");
        assert_eq!(Naming::Published.theirs(&shape, "classifier.1.bias"), "classifier.1.bias");
        let shape = NetShape::new(Arch::Resnet50, false, 224);
        assert_eq!(Naming::Torchvision.theirs(&shape, "top_layer.bias"), "fc.bias");
        assert!(Naming::Published.check(&shape).is_err());
        assert!(Naming::Torchvision.check(&NetShape { sobel: true, ..shape }).is_err());
    }
}
