//! output: parts on their way into the store: of a node's artifact, of a shard, of a checkpoint.

use crate::base::Part;
use crate::store::{ObjectWriter, Store};
use std::io::{BufWriter, IntoInnerError, Write};

/// Parts in their order, written and not yet durable, and the place of the next one.
pub struct Output<'a> {
    store: &'a Store,
    written: Vec<(ObjectWriter<'a>, String)>,
}

impl<'a> Output<'a> {
    /// An output without parts yet.
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, written: Vec::new() }
    }

    /// Begins a part. Pass it to [`Output::finish`].
    pub fn create(&self) -> anyhow::Result<ObjectWriter<'a>> {
        Ok(self.store.create()?)
    }

    /// Takes a written part as `name`.
    ///
    /// # Errors
    /// None today; the parts become durable together, at the end.
    pub fn finish(&mut self, writer: ObjectWriter<'a>, name: &str) -> anyhow::Result<()> {
        self.written.push((writer, name.to_owned()));
        Ok(())
    }

    /// Makes all parts durable. This is the only wait for the disk, so that another shard may compute meanwhile.
    pub(super) fn settle(&mut self) -> anyhow::Result<Vec<Part>> {
        let written = std::mem::take(&mut self.written).into_iter();
        Ok(written.map(|(writer, name)| writer.finish(&name)).collect::<Result<_, _>>()?)
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
