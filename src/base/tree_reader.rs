//! tree_reader: a [`Tree`] -> any Rust value; an error names the place of the misfit.

use crate::base::tree::{Entry, Tree, Value, Word};
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use std::fmt;

/// Why a tree does not become the requested value.
#[derive(Debug)]
pub struct TreeError {
    /// What is wrong.
    pub why: Misfit,
    /// The innermost value that is wrong, with its place.
    pub found: Option<Box<Tree>>,
    /// The way to it from the root of the tree, the outermost step last.
    steps: Vec<Step>,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Misfit {
    /// It is of another type, out of range, or none of the choices.
    Value,
    /// It lacks a key.
    Missing(&'static str),
    /// It has a key that nothing reads.
    Unknown(Word),
    /// The Rust type refuses it, in its own words.
    Refused(String),
}

/// A step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The value of a key.
    Key(String),
    /// The item of a list, from 0.
    Item(usize),
}

impl TreeError {
    /// The way from the root of the tree to the misfit, the outermost step first.
    pub fn path(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().rev()
    }

    fn new(why: Misfit) -> Self {
        Self { why, found: None, steps: Vec::new() }
    }

    /// Adds the value that was found, unless one further inside is already known.
    fn at(mut self, tree: &Tree) -> Self {
        self.found.get_or_insert_with(|| Box::new(tree.clone()));
        self
    }

    fn below(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Misfit::Value => f.write_str("a value of another type, or out of range"),
            Misfit::Missing(key) => write!(f, "there is no `{key}`"),
            Misfit::Unknown(key) => write!(f, "nothing reads `{}`", key.text),
            Misfit::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for TreeError {}

impl Error for TreeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Misfit::Refused(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::new(Misfit::Value)
    }

    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::new(Misfit::Value)
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::new(Misfit::Value)
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        // The reader of keys adds the place.
        Self::new(Misfit::Unknown(Word { span: Default::default(), text: field.to_owned() }))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Misfit::Missing(field))
    }
}

impl<'de> IntoDeserializer<'de, TreeError> for &'de Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Tree {
    type Error = TreeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TreeError> {
        let read = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (None, None, Some(number)) => visitor.visit_f64(number),
                (None, None, None) => Err(TreeError::new(Misfit::Value)),
            },
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Value::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), next: None }),
        };
        read.map_err(|error| error.at(self))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TreeError> {
        let read = if self.value == Value::Null { visitor.visit_none() } else { visitor.visit_some(self) };
        read.map_err(|error| error.at(self))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, TreeError> {
        visitor.visit_newtype_struct(self).map_err(|error| error.at(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TreeError> {
        let choice = match &self.value {
            Value::Text(text) => Ok(Choice { name: text, holds: None }),
            Value::Map(entries) => match entries.as_slice() {
                [Entry { key, value }] => Ok(Choice { name: &key.text, holds: Some(value) }),
                _ => Err(TreeError::new(Misfit::Value)),
            },
            _ => Err(TreeError::new(Misfit::Value)),
        };
        choice.and_then(|choice| visitor.visit_enum(choice)).map_err(|error| error.at(self))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TreeError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Tree>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = TreeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, TreeError> {
        let read = |(at, item)| seed.deserialize(item).map_err(|error: TreeError| error.below(Step::Item(at)));
        self.items.next().map(read).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    next: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = TreeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TreeError> {
        self.next = self.entries.next();
        let Some(Entry { key, .. }) = self.next else { return Ok(None) };
        let name = StrDeserializer::<TreeError>::new(&key.text);
        seed.deserialize(name).map(Some).map_err(|error| match error.why {
            Misfit::Unknown(_) => TreeError::new(Misfit::Unknown(key.clone())),
            _ => error.at(&Tree { span: key.span, value: Value::Text(key.text.clone()) }),
        })
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, TreeError> {
        let Entry { key, value } = self.next.take().expect("BUG: serde asks for a key before its value");
        seed.deserialize(value).map_err(|error| error.below(Step::Key(key.text.clone())))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A choice: a name, and what it holds.
struct Choice<'de> {
    name: &'de str,
    holds: Option<&'de Tree>,
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = TreeError;
    type Variant = Held<'de>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), TreeError> {
        let name = seed.deserialize(StrDeserializer::<TreeError>::new(self.name))?;
        Ok((name, Held { name: self.name, holds: self.holds }))
    }
}

/// What a choice holds.
struct Held<'de> {
    name: &'de str,
    holds: Option<&'de Tree>,
}

impl<'de> Held<'de> {
    fn read<T>(self, read: impl FnOnce(&'de Tree) -> Result<T, TreeError>) -> Result<T, TreeError> {
        let tree = self.holds.ok_or_else(|| TreeError::new(Misfit::Value))?;
        read(tree).map_err(|error| error.below(Step::Key(self.name.to_owned())))
    }
}

impl<'de> VariantAccess<'de> for Held<'de> {
    type Error = TreeError;

    fn unit_variant(self) -> Result<(), TreeError> {
        match self.holds {
            None => Ok(()),
            Some(tree) if tree.value == Value::Null => Ok(()),
            Some(_) => self.read(|tree| Err(TreeError::new(Misfit::Value).at(tree))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, TreeError> {
        self.read(|tree| seed.deserialize(tree))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, TreeError> {
        self.read(|tree| tree.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, TreeError> {
        self.read(|tree| tree.deserialize_any(visitor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tree::Span;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    /// A tree of JSON; every value and key stands at a column of its own.
    fn tree(json: &serde_json::Value, column: &mut u32) -> Tree {
        let mut place = || {
            *column += 1;
            Span { source: 0, line: 1, column: *column, len: 1 }
        };
        let span = place();
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(truth) => Value::Bool(*truth),
            serde_json::Value::Number(number) => Value::Number(number.clone()),
            serde_json::Value::String(text) => Value::Text(text.clone()),
            serde_json::Value::Array(items) => Value::List(items.iter().map(|item| tree(item, column)).collect()),
            serde_json::Value::Object(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| {
                        *column += 1;
                        let span = Span { source: 0, line: 1, column: *column, len: 1 };
                        Entry { key: Word { span, text: key.clone() }, value: tree(value, column) }
                    })
                    .collect(),
            ),
        };
        Tree { span, value }
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case", deny_unknown_fields)]
    enum Shape {
        Point,
        Circle(f64),
        Box { wide: u8, high: Option<i32> },
        Pair(bool, String),
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct All {
        shapes: Vec<Shape>,
        names: BTreeMap<String, (u64, i64)>,
        #[serde(default)]
        small: Option<f32>,
        unit: (),
    }

    fn all() -> impl Strategy<Value = All> {
        let shape = prop_oneof![
            Just(Shape::Point),
            (-1e9..1e9_f64).prop_map(Shape::Circle),
            (any::<u8>(), any::<Option<i32>>()).prop_map(|(wide, high)| Shape::Box { wide, high }),
            (any::<bool>(), "\\PC{0,5}").prop_map(|(a, b)| Shape::Pair(a, b)),
        ];
        let names = prop::collection::btree_map("[a-z]{1,4}", (any::<u64>(), any::<i64>()), 0..4);
        (prop::collection::vec(shape, 0..4), names, prop::option::of(-1e9..1e9_f32))
            .prop_map(|(shapes, names, small)| All { shapes, names, small, unit: () })
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_back(all in all()) {
            let json = serde_json::to_value(&all).expect("plain data");
            prop_assert_eq!(All::deserialize(&tree(&json, &mut 0)).expect("it fits"), all);
        }
    }

    #[test]
    fn an_error_names_the_innermost_value_and_the_way_to_it() {
        let json = serde_json::json!({ "names": {}, "shapes": ["point", { "box": { "wide": 300 } }], "unit": null });
        let tree = tree(&json, &mut 0);
        let error = All::deserialize(&tree).expect_err("300 is no u8");
        let way = [Step::Key("shapes".into()), Step::Item(1), Step::Key("box".into()), Step::Key("wide".into())];
        assert!(error.path().eq(&way), "{error:?}");
        assert_eq!(error.why, Misfit::Value);
        assert_eq!(error.found.map(|tree| tree.value), Some(Value::Number(300.into())));
    }
}
