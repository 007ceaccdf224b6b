//! The codecs, with values of every shape, and with bytes that want to do harm.

use super::*;
use crate::sync::Arc;

fn encoded<V, C: Codec<V>>(codec: &C, value: &V) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    codec.encode(value, &mut bytes).unwrap_or_else(|error| panic!("{error}"));
    assert!(bytes.starts_with(b"before"), "encode appends");
    bytes.split_off(6)
}

#[test]
fn raw_is_what_it_is() {
    assert_eq!(Codec::<Vec<u8>>::id(&Raw), 0);
    assert_eq!(encoded(&Raw, &vec![0_u8, 255]), [0, 255]);
    assert_eq!(encoded(&Raw, &Arc::<[u8]>::from([7])), [7]);
    assert_eq!(encoded(&Raw, &Box::<str>::from("é")), "é".as_bytes());
    assert_eq!(Raw.decode(&[0, 255]), Ok(vec![0, 255]));
    assert_eq!(Raw.decode(&[0]), Ok(Box::<[u8]>::from([0])));
    assert_eq!(Raw.decode("é".as_bytes()), Ok(Arc::<str>::from("é")));
    assert_eq!(Raw.decode(b""), Ok(String::new()));
    let cut: Result<String, _> = Raw.decode(&"é".as_bytes()[..1]);
    assert_eq!(cut, Err(CodecError::new("incomplete utf-8 byte sequence from index 0")));
}

#[test]
fn a_long_reason_is_cut_between_letters() {
    assert_eq!(CodecError::new("é".repeat(1000)).to_string(), "é".repeat(100));
    assert_eq!(CodecError::new(format!("a{}", "é".repeat(1000))).to_string().len(), 199);
}

#[cfg(all(feature = "json", feature = "msgpack", feature = "postcard"))]
mod by_serde {
    use super::*;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use std::collections::{BTreeMap, HashMap};

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    enum Shape {
        Nothing,
        Number(i64),
        Pair(u8, u128),
        Named { text: String, letter: char },
        List(Vec<Self>),
        Map(BTreeMap<String, Self>),
        Maybe(Option<Box<Self>>),
        Wrapped(Wrapper),
        Bytes(Vec<u8>),
        Unit(()),
        Fraction(f32, bool),
    }

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    struct Wrapper((u16, i128));

    fn shapes() -> impl Strategy<Value = Shape> {
        let leaf = prop_oneof![
            Just(Shape::Nothing),
            Just(Shape::Unit(())),
            any::<i64>().prop_map(Shape::Number),
            any::<(u8, u128)>().prop_map(|(a, b)| Shape::Pair(a, b)),
            any::<(String, char)>().prop_map(|(text, letter)| Shape::Named { text, letter }),
            any::<(u16, i128)>().prop_map(|inner| Shape::Wrapped(Wrapper(inner))),
            any::<Vec<u8>>().prop_map(Shape::Bytes),
            (prop::num::f32::NORMAL, any::<bool>()).prop_map(|(a, b)| Shape::Fraction(a, b)),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Shape::List),
                prop::collection::btree_map(any::<String>(), inner.clone(), 0..5)
                    .prop_map(Shape::Map),
                prop::option::of(inner.prop_map(Box::new)).prop_map(Shape::Maybe),
            ]
        })
    }

    /// That it is what was written, all of it, and that the bounds change nothing.
    fn comes_back<V, C>(codec: &C, value: &V)
    where
        V: std::fmt::Debug + PartialEq,
        C: Codec<V>,
    {
        let mut bytes = encoded(codec, value);
        assert_eq!(codec.decode(&bytes).as_ref(), Ok(value));
        // A number at the top level is as good when it is cut off, and so is a digit more: no codec can see that. These have an end.
        bytes.push(b'0');
        assert!(codec.decode(&bytes).is_err(), "a byte more");
        bytes.truncate(bytes.len() - 2);
        assert!(codec.decode(&bytes).is_err(), "a byte less");
    }

    proptest! {
        #[test]
        fn every_value_comes_back(shape in shapes()) {
            let value = (shape, 1_u8);
            comes_back(&Json, &value);
            comes_back(&MessagePack, &value);
            comes_back(&Postcard, &value);
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let decoded: [Result<Shape, _>; 3] =
                [Json.decode(&bytes), MessagePack.decode(&bytes), Postcard.decode(&bytes)];
            for shape in decoded.into_iter().flatten() {
                comes_back(&Postcard, &(shape, ()));
            }
        }
    }

    /// An address is a text where people read it, and bytes where they do not.
    #[test]
    fn types_are_told_who_reads() {
        let address = (std::net::Ipv4Addr::LOCALHOST, 1_u8);
        comes_back(&Json, &address);
        comes_back(&MessagePack, &address);
        comes_back(&Postcard, &address);
        assert_eq!(encoded(&Json, &address), br#"["127.0.0.1",1]"#);
    }

    #[test]
    fn ids_differ_and_stay() {
        let ids =
            [Codec::<u8>::id(&Json), Codec::<u8>::id(&MessagePack), Codec::<u8>::id(&Postcard)];
        assert_eq!(ids, [1, 2, 3]);
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Old {
        name: String,
        dropped: Vec<u8>,
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct New {
        #[serde(default)]
        added: u32,
        name: String,
    }

    #[test]
    fn fields_come_and_go_where_they_have_names() {
        let old = Old { name: "Ada".into(), dropped: vec![1; 3] };
        let new = New { added: 0, name: "Ada".into() };
        assert_eq!(Json.decode(&encoded(&Json, &old)), Ok(new));
        let new = New { added: 0, name: "Ada".into() };
        assert_eq!(MessagePack.decode(&encoded(&MessagePack, &old)), Ok(new));
        // Three letters are a number, and what follows is too long.
        assert!(Codec::<New>::decode(&Postcard, &encoded(&Postcard, &old)).is_err());
    }

    #[test]
    fn types_that_look_at_what_is_there_first() {
        #[derive(Debug, Deserialize, PartialEq, Serialize)]
        #[serde(untagged)]
        enum Any {
            List(Vec<Self>),
            Text(String),
            Number(u64),
        }
        #[derive(Debug, Deserialize, PartialEq, Serialize)]
        struct Flat {
            first: u8,
            #[serde(flatten)]
            rest: HashMap<String, Any>,
        }
        let list = || Any::List(vec![Any::Number(1), Any::Text("t".into()), Any::List(vec![])]);
        let flat = Flat { first: 1, rest: [("list".to_string(), list())].into() };
        assert_eq!(Json.decode(&encoded(&Json, &flat)).as_ref(), Ok(&flat));
        assert_eq!(MessagePack.decode(&encoded(&MessagePack, &flat)).as_ref(), Ok(&flat));
    }

    /// A level by an `Option`, one by a variant, one by a list.
    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    enum Deep {
        End,
        In(Option<Box<Self>>),
        List(Vec<Self>),
    }

    fn deep(levels: usize) -> Deep {
        (0..levels).fold(Deep::End, |inner, _| Deep::In(Some(Box::new(inner))))
    }

    fn refused<V>(codec: &impl Codec<V>, bytes: &[u8]) -> String {
        codec.decode(bytes).err().expect("bytes that are no value").to_string()
    }

    #[test]
    fn values_are_as_deep_as_is_said_and_no_deeper() {
        // The innermost variant is one level, each around it two.
        for (levels, fits) in [(63, true), (64, false)] {
            let value = deep(levels);
            let read: [Result<Deep, _>; 3] = [
                Json.decode(&encoded(&Json, &value)),
                MessagePack.decode(&encoded(&MessagePack, &value)),
                Postcard.decode(&encoded(&Postcard, &value)),
            ];
            for read in read {
                assert_eq!(read.ok(), fits.then(|| deep(levels)));
            }
        }
        assert_eq!(
            refused::<Deep>(&MessagePack, &b"\x81\xa2In".repeat(65)),
            "nested more than 128 deep"
        );
    }

    /// Each would need more stack than there is, if it was followed.
    #[test]
    fn what_is_nested_without_end_is_refused() {
        let many = 1 << 20;
        refused::<Deep>(&Json, &br#"{"In":"#.repeat(many));
        refused::<Deep>(&Json, &br#"{"List":["#.repeat(many));
        refused::<Deep>(&MessagePack, &b"\x81\xa2In".repeat(many));
        refused::<Deep>(&MessagePack, &b"\x81\xa4List\x91".repeat(many));
        refused::<Deep>(&Postcard, &[1].repeat(many));
        refused::<Deep>(&Postcard, &[2, 1].repeat(many));
        // What a type does not know is passed over, however deep.
        let mut unknown = br#"{"name":"","other":"#.to_vec();
        unknown.extend(b"[".repeat(many));
        refused::<New>(&Json, &unknown);
        let mut unknown = b"\x82\xa4name\xa0\xa5other".to_vec();
        unknown.extend(b"\x91".repeat(many));
        refused::<New>(&MessagePack, &unknown);
    }

    /// A type with no end is one that no bytes are needed for: the format alone would never stop.
    #[test]
    fn a_type_that_needs_no_bytes_ends() {
        #[derive(Deserialize, Serialize)]
        struct Endless(Option<Box<Self>>);
        #[derive(Deserialize, Serialize)]
        struct Alone(Box<Self>);
        refused::<Endless>(&Json, b"1");
        refused::<Endless>(&MessagePack, b"\x01");
        refused::<Alone>(&Json, b"1");
        refused::<Alone>(&Postcard, b"1");
    }

    /// Fails with what it is told to expect.
    struct Told;

    impl<'de> serde::de::Visitor<'de> for Told {
        type Value = Self;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list or a map")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Self, A::Error> {
            Err(serde::de::Error::custom(format_args!("{:?}", seq.size_hint())))
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self, A::Error> {
            Err(serde::de::Error::custom(format_args!("{:?}", map.size_hint())))
        }
    }

    impl<'de> Deserialize<'de> for Told {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_any(Self)
        }
    }

    impl Serialize for Told {
        fn serialize<S: serde::Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
            into.serialize_unit()
        }
    }

    /// 2^32 - 1 elements are declared, and 60,000, and 2.
    #[test]
    fn no_type_is_told_of_more_elements_than_there_are_bytes() {
        assert_eq!(refused::<Told>(&MessagePack, b"\xdd\xff\xff\xff\xff\x01"), "Some(6)");
        assert_eq!(refused::<Told>(&MessagePack, b"\xde\xea\x60\x01"), "Some(4)");
        assert_eq!(refused::<Told>(&MessagePack, b"\x92\x01\x02"), "Some(2)");
    }

    #[test]
    fn lists_of_nothing_are_bounded_all_together() {
        let most = (1 << 16) + 3;
        // A length of three bytes, and nothing more.
        let bytes = encoded(&Postcard, &vec![(); most]);
        assert_eq!(bytes.len(), 3);
        assert_eq!(Postcard.decode(&bytes).map(|list: Vec<()>| list.len()), Ok(most));
        refused::<Vec<()>>(&Postcard, &encoded(&Postcard, &vec![(); most + 1]));
        // 2^64 - 1.
        refused::<Vec<()>>(&Postcard, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
        let lists = vec![vec![(); 1 << 15]; 3];
        refused::<Vec<Vec<()>>>(&Postcard, &encoded(&Postcard, &lists));
        // 2^17.
        refused::<BTreeMap<(), ()>>(&Postcard, b"\x80\x80\x08");
        let map: HashMap<(), Vec<()>> = [((), vec![(); most + 3])].into();
        refused::<HashMap<(), Vec<()>>>(&Postcard, &encoded(&Postcard, &map));
    }

    /// However long the list, its structures have as many fields as the type says.
    #[test]
    fn a_long_list_of_small_structures_fits() {
        let list: Vec<((u8, u8), Wrapper, Option<u8>)> =
            vec![((1, 2), Wrapper((3, 4)), None); 100_000];
        assert_eq!(Postcard.decode(&encoded(&Postcard, &list)).as_ref(), Ok(&list));
        assert_eq!(MessagePack.decode(&encoded(&MessagePack, &list)).as_ref(), Ok(&list));
        assert_eq!(Json.decode(&encoded(&Json, &list)).as_ref(), Ok(&list));
    }

    /// Lengths of texts and bytes that are not there.
    #[test]
    fn what_is_declared_and_not_there_is_refused() {
        refused::<String>(&MessagePack, b"\xdb\xff\xff\xff\xff");
        refused::<String>(&Postcard, b"\xff\xff\xff\xff\x0f");
        refused::<Vec<u64>>(&Postcard, b"\x7f\x01");
        refused::<Vec<Vec<u64>>>(&MessagePack, &b"\xdc\x00\x01".repeat(100));
    }

    #[test]
    fn what_has_no_bytes_is_an_error() {
        let keys: BTreeMap<(u8, u8), u8> = [((1, 2), 3)].into();
        let error = Json.encode(&keys, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "key must be a string");
        // A foreign text is not repeated at length.
        let text = serde_json::to_vec(&"x".repeat(10_000)).unwrap();
        assert!(refused::<u8>(&Json, &text).len() <= 200);
    }
}
