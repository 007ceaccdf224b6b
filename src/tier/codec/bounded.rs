//! Decoding by serde, of bytes that nobody vouches for.
//!
//! What the formats do by themselves is not enough: postcard follows a value into itself as deep as there are bytes, `MessagePack` does so
//! for variants, and postcard counts the 2^64 elements of a `Vec<()>` that ten bytes declare. So what a format gives to a type goes
//! through [`Bounded`], which changes nothing but keeps count:
//!
//! ```text
//!   type ◄── Visitor ◄── Bounded ◄── the format's Deserializer
//!                          │
//!                          ├─ each value in a value: a level, of at most 128
//!                          ├─ each element of a list or map: all together at most bytes + 65,536
//!                          └─ the length it tells the type: at most bytes
//! ```
//!
//! An element of a list takes a byte of its own, which is not the one before it that declares a length; only elements that take no bytes
//! at all need the 65,536. Tuples and structures are not counted: their length is the type's.

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use std::cell::Cell;
use std::fmt;

/// How deep values are nested: what JSON's parser takes by itself.
const DEPTH: u32 = 128;

/// How many elements may take no bytes.
const EMPTY: usize = 1 << 16;

/// A value from a format that reads `length` bytes.
pub(super) fn decode<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
    length: usize,
) -> Result<V, D::Error> {
    let elements = Cell::new(length.saturating_add(EMPTY));
    let bounds = Bounds { depth: DEPTH, listed: false, elements: &elements, length };
    V::deserialize(bounds.around(from))
}

#[derive(Clone, Copy)]
struct Bounds<'a> {
    /// How many more levels there may be.
    depth: u32,
    /// True if the bytes say how many elements there are, and not the type.
    listed: bool,
    /// How many more elements there may be in lists and maps.
    elements: &'a Cell<usize>,
    /// How many bytes there are.
    length: usize,
}

impl<'a> Bounds<'a> {
    fn around<T>(self, inner: T) -> Bounded<'a, T> {
        Bounded { inner, bounds: self }
    }

    fn listed(self, listed: bool) -> Self {
        Self { listed, ..self }
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(E::custom(format_args!("nested more than {DEPTH} deep"))),
        }
    }

    /// Counts an element that is there.
    fn count<T, E: Error>(self, element: Option<T>) -> Result<Option<T>, E> {
        if self.listed && element.is_some() {
            match self.elements.get().checked_sub(1) {
                Some(left) => self.elements.set(left),
                None => return Err(E::custom("there are more elements than bytes")),
            }
        }
        Ok(element)
    }
}

/// A serde thing, and what may be done with it.
struct Bounded<'a, T> {
    inner: T,
    bounds: Bounds<'a>,
}

macro_rules! deserialize {
    ($($method:ident($($argument:ident: $kind:ty),*) $listed:literal)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* self.bounds.listed($listed).around(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    deserialize! {
        deserialize_any() true
        deserialize_bool() false
        deserialize_i8() false
        deserialize_i16() false
        deserialize_i32() false
        deserialize_i64() false
        deserialize_i128() false
        deserialize_u8() false
        deserialize_u16() false
        deserialize_u32() false
        deserialize_u64() false
        deserialize_u128() false
        deserialize_f32() false
        deserialize_f64() false
        deserialize_char() false
        deserialize_str() false
        deserialize_string() false
        deserialize_bytes() false
        deserialize_byte_buf() false
        deserialize_option() false
        deserialize_unit() false
        deserialize_unit_struct(name: &'static str) false
        deserialize_newtype_struct(name: &'static str) false
        deserialize_seq() true
        deserialize_tuple(length: usize) false
        deserialize_tuple_struct(name: &'static str, length: usize) false
        deserialize_map() true
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) false
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) false
        deserialize_identifier() false
        deserialize_ignored_any() true
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($kind:ty))*) => {$(
        fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool(bool)
        visit_i8(i8)
        visit_i16(i16)
        visit_i32(i32)
        visit_i64(i64)
        visit_i128(i128)
        visit_u8(u8)
        visit_u16(u16)
        visit_u32(u32)
        visit_u64(u64)
        visit_u128(u128)
        visit_f32(f32)
        visit_f64(f64)
        visit_char(char)
        visit_str(&str)
        visit_borrowed_str(&'de str)
        visit_string(String)
        visit_bytes(&[u8])
        visit_borrowed_bytes(&'de [u8])
        visit_byte_buf(Vec<u8>)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        let bounds = self.bounds.deeper()?;
        self.inner.visit_some(bounds.around(from))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<V::Value, D::Error> {
        let bounds = self.bounds.deeper()?;
        self.inner.visit_newtype_struct(bounds.around(from))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        let bounds = self.bounds.deeper()?;
        self.inner.visit_seq(bounds.around(seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let bounds = self.bounds.deeper()?;
        self.inner.visit_map(bounds.around(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let bounds = self.bounds.deeper()?;
        self.inner.visit_enum(bounds.around(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(self.bounds.around(from))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let element = self.inner.next_element_seed(self.bounds.around(seed))?;
        self.bounds.count(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|declared| declared.min(self.bounds.length))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let key = self.inner.next_key_seed(self.bounds.around(seed))?;
        self.bounds.count(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(self.bounds.around(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|declared| declared.min(self.bounds.length))
    }
}

impl<'de, 'a, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'a, A> {
    type Error = A::Error;
    type Variant = Bounded<'a, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(self.bounds.around(seed))?;
        Ok((value, self.bounds.around(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.bounds.around(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(length, self.bounds.listed(false).around(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.bounds.listed(false).around(visitor))
    }
}
