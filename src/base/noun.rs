//! noun: a kind of artifact as a table's row: its name, format, parts, and where people find them.

/// A kind of artifact. `src/format/noun.rs` has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noun {
    /// Such as `clusters`.
    pub name: &'static str,
    /// Counts up when the files change in a way that old readers would misread.
    pub format: u32,
    /// Its parts, as rows: one for each file, or for each family of files.
    pub parts: &'static [PartRow],
    /// Nouns that its exported tables read besides itself; none if it has no tables.
    pub tables: Option<&'static [&'static str]>,
}

/// A part of a noun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRow {
    /// Its file's name; for a family of files, the beginning of their names.
    pub name: &'static str,
    /// Whether it is a family of files.
    pub is_many: bool,
    /// Whether the part is small and read by people: it stays in the store when the rest is evicted.
    pub is_spared: bool,
    /// What it contains.
    pub means: &'static str,
    /// Where it is in the results folder; none if it is not there.
    pub place: Option<Place>,
}

/// Where a part is in the results folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In which folder.
    pub folder: Folder,
    /// Under which name.
    pub file: FileName,
    /// Under which condition.
    pub when: When,
}

/// A folder below the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// The results folder itself.
    Top,
    /// The folder with the node's name.
    Own,
    /// This one; the node's name precedes it if that differs from the noun.
    Beside(&'static str),
}

/// What a part is called in the results folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// As in the artifact, without its tag, in the folder of its epoch.
    Plain,
    /// As tools expect of a table in Hive folders.
    Table,
    /// After its epoch, with this ending.
    Epoch(&'static str),
}

/// Under which condition a part is in the results folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// If its bytes are kept at the run's end; for nouns whose bytes `keep:` may let go.
    Kept,
    /// If the pipeline asks for its bytes by name.
    AskedFor,
}

impl Noun {
    /// A noun of which nothing is spared, shown or exported.
    pub const fn plain(name: &'static str, format: u32) -> Self {
        Self { name, format, parts: &[], tables: None }
    }

    /// The row of a part.
    pub fn row(&self, part: &str) -> Option<&'static PartRow> {
        self.parts.iter().find(|row| row.is(part))
    }

    /// Whether a part stays when the rest of the artifact is evicted.
    pub fn spares(&self, part: &str) -> bool {
        self.row(part).is_some_and(|row| row.is_spared)
    }
}

impl PartRow {
    /// A part that is one file.
    pub const fn one(name: &'static str, means: &'static str) -> Self {
        Self { name, is_many: false, is_spared: false, means, place: None }
    }

    /// A family of files with names of this beginning.
    pub const fn many(prefix: &'static str, means: &'static str) -> Self {
        Self { is_many: true, ..Self::one(prefix, means) }
    }

    /// The same part, which stays when the rest is evicted.
    pub const fn spared(self) -> Self {
        Self { is_spared: true, ..self }
    }

    /// The same part, at this place in the results.
    pub const fn at(self, folder: Folder, file: FileName, when: When) -> Self {
        Self { place: Some(Place { folder, file, when }), ..self }
    }

    /// Whether a part of that name belongs to this row.
    pub fn is(&self, part: &str) -> bool {
        if self.is_many { part.starts_with(self.name) } else { part == self.name }
    }
}
