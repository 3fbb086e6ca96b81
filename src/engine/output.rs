//! output: parts on their way into the store: of a node's artifact, of a shard, of a save.

use crate::base::Part;
use crate::store::{ObjectWriter, Store};
use std::io::{BufWriter, IntoInnerError, Write};

/// Parts that are durable, in their order, and where the next one goes.
pub struct Output<'a> {
    store: &'a Store,
    pub(super) parts: Vec<Part>,
}

impl<'a> Output<'a> {
    /// None yet.
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, parts: Vec::new() }
    }

    /// Begins a part. Hand it to [`Output::finish`].
    pub fn create(&self) -> anyhow::Result<ObjectWriter<'a>> {
        Ok(self.store.create()?)
    }

    /// Makes a part durable as `name`.
    pub fn finish(&mut self, writer: ObjectWriter<'_>, name: &str) -> anyhow::Result<()> {
        self.parts.push(writer.finish(name)?);
        Ok(())
    }

    /// Writes the part `name` by `write`.
    pub fn write_part<E: Into<anyhow::Error>>(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), E>,
    ) -> anyhow::Result<()> {
        let mut writer = BufWriter::with_capacity(1 << 20, self.create()?);
        write(&mut writer).map_err(|error| error.into().context(format!("writing {name}")))?;
        let writer = writer.into_inner().map_err(IntoInnerError::into_error)?;
        self.finish(writer, name)
    }
}
