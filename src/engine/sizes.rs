//! sizes: numbers that parameters alone decide, such as the side of a crop; they are compared before anything runs.

/// Sizes of an artifact, by name.
pub type Sizes = Vec<(&'static str, u64)>;

/// The sizes of what a node reads, by port, as far as they are known.
pub struct InputSizes<'a>(pub(super) &'a dyn Fn(&str) -> Option<&'a Sizes>);

impl InputSizes<'_> {
    /// Whether something is at a port.
    pub fn has(&self, port: &str) -> bool {
        self.0(port).is_some()
    }

    /// A size of what is at a port.
    pub fn get(&self, port: &str, size: &str) -> Option<u64> {
        self.0(port)?.iter().find(|(name, _)| *name == size).map(|(_, value)| *value)
    }

    /// The same, for an output that has the size as well.
    pub fn handed_on(&self, port: &str, size: &'static str) -> Option<(&'static str, u64)> {
        self.get(port, size).map(|value| (size, value))
    }
}
