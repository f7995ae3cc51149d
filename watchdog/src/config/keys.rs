//! Finds every key of the configuration, by the requests of its types to serde. No other key can be
//! read from a file.

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

/// A key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Its sections and its name, as in `guard.disarm`.
    pub(super) path: String,
    /// Whether the value is an `Option` or belongs to one. Without the key it is `None`.
    pub(super) is_option: bool,
}

/// The keys of a type and of all sections below it.
pub(super) fn keys<T: DeserializeOwned>() -> Vec<Key> {
    let mut keys = Vec::new();
    walk::<T>(&mut Vec::new(), &mut keys);
    keys
}

fn walk<T: DeserializeOwned>(path: &mut Vec<&'static str>, keys: &mut Vec<Key>) {
    let mut asked = Asked::default();
    assert!(T::deserialize(Probe { path, asked: &mut asked }).is_err(), "a probe has no value");
    assert!(asked.is_reached, "{path:?} was not asked for");
    let Some(fields) = asked.fields else {
        keys.push(Key { path: path.join("."), is_option: asked.is_option });
        return;
    };
    for field in fields {
        path.push(field);
        walk::<T>(path, keys);
        path.pop();
    }
}

/// The request of a type at the end of a path.
#[derive(Default)]
struct Asked {
    is_reached: bool,
    is_option: bool,
    /// The fields of a structure; `None` for any other type.
    fields: Option<&'static [&'static str]>,
}

/// A value with one key, at a path. It fails at the end of the path.
struct Probe<'a> {
    path: &'a [&'static str],
    asked: &'a mut Asked,
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Some((key, path)) = self.path.split_first() else {
            self.asked.fields = Some(fields);
            return self.deserialize_any(visitor);
        };
        let below = Probe { path, asked: self.asked };
        visitor.visit_map(MapDeserializer::new([(*key, below)].into_iter()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.asked.is_option = true;
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new([self].into_iter()))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        self.asked.is_reached = self.path.is_empty();
        Err(Error::custom("a probe has no value"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Probe<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Check that keys of sections, of lists of sections and of optional sections are found.
#[test]
fn all_levels() {
    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its keys count")]
    struct Top {
        plain: String,
        #[serde(rename = "item")]
        items: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its keys count")]
    struct Item {
        words: Vec<String>,
        maybe: Option<Below>,
    }
    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its keys count")]
    struct Below {
        number: u64,
    }
    let found = keys::<Top>();
    let found: Vec<_> = found.iter().map(|key| (key.path.as_str(), key.is_option)).collect();
    assert_eq!(found, [("plain", false), ("item.words", false), ("item.maybe.number", true)]);
}
