//! Any bytes, as an envelope, as a payload, and as what a codec wrote.

#![no_main]

use cachette::tier::{Codec, Json, MessagePack, Postcard, Raw, hostile};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

/// Something of everything, and itself.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
enum Shape {
    Nothing,
    Number(i64),
    Pair(u8, u128),
    Named { text: String, letter: char, flag: bool },
    List(Vec<Shape>),
    Map(BTreeMap<String, Shape>),
    Maybe(Option<Box<Shape>>),
    Wrapped(Wrapper),
    Nested(Vec<Vec<Vec<u64>>>),
    Units(Vec<()>, HashMap<u8, ()>),
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Wrapper(#[serde(default)] (u16, i128));

/// Fields that come and go, and one that takes all that is not known.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Flat {
    #[serde(default)]
    first: Option<u8>,
    #[serde(flatten)]
    rest: BTreeMap<String, Any>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
enum Any {
    Nothing(()),
    Number(i64),
    Text(String),
    List(Vec<Any>),
    Map(BTreeMap<String, Any>),
}

/// What is decoded is a value: its own bytes are decoded as an equal one.
fn decode<V: Debug + PartialEq>(codec: &impl Codec<V>, bytes: &[u8]) {
    let Ok(value) = codec.decode(bytes) else { return };
    let mut again = Vec::new();
    codec.encode(&value, &mut again).unwrap_or_else(|error| panic!("{value:?}: {error}"));
    assert_eq!(codec.decode(&again).as_ref(), Ok(&value));
}

fuzz_target!(|bytes: &[u8]| {
    hostile(bytes);
    decode::<Vec<u8>>(&Raw, bytes);
    decode::<String>(&Raw, bytes);
    decode::<Shape>(&Json, bytes);
    decode::<Shape>(&MessagePack, bytes);
    decode::<Shape>(&Postcard, bytes);
    decode::<Flat>(&Json, bytes);
    decode::<Flat>(&MessagePack, bytes);
    decode::<Any>(&Json, bytes);
    decode::<Any>(&MessagePack, bytes);
});
