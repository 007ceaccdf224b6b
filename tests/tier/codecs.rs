//! Values that cannot be read, or written.

use crate::world::{Chosen, Node, TTL, World, millis, seconds};
use cachette::Freshness;
use cachette::tier::{Codec, CodecError, Compression, Delivery, Event, HEAD, Raw};

const NAME: &[u8] = b"{test.0:k:7}";

/// Text, under another number; of `?` nothing is read, and of `!` nothing written.
struct Other(u8);

impl Codec<String> for Other {
    fn id(&self) -> u8 {
        self.0
    }

    fn encode(&self, value: &String, into: &mut Vec<u8>) -> Result<(), CodecError> {
        if value.starts_with('!') {
            return Err(CodecError::new("not this one"));
        }
        Raw.encode(value, into)
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, CodecError> {
        let text: String = Raw.decode(bytes)?;
        if text.starts_with('?') { Err(CodecError::new("not that one")) } else { Ok(text) }
    }
}

fn node_of(world: &World, codec: impl Codec<String>, choose: fn(Chosen) -> Chosen) -> Node {
    let node = world.node_made(Freshness::new(TTL), |loading| loading, codec, choose);
    node.settle();
    node
}

fn was_unreadable(node: &Node) -> bool {
    let told = |event: &Event| matches!(event, Event::Unreadable { name, .. } if name == NAME);
    node.events().iter().any(told)
}

#[test]
fn t31_what_is_no_value_counts_as_none_and_is_replaced() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.source.write(7, 1);
    assert_eq!(two.value(7), 1);
    let good = world.remote.peek(NAME).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let nonsense = [
        Vec::new(),
        b"short".to_vec(),
        vec![0; HEAD],
        good[..HEAD].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], b"more"].concat(),
        damaged,
        vec![0xFF; 10_000],
    ];
    for (n, bytes) in nonsense.into_iter().enumerate() {
        world.remote.put_foreign(NAME, &bytes);
        let loads = world.source.loads();
        world.live(&[&one, &two], seconds(1));
        assert_eq!((one.value(7), two.value(7)), (1, 1), "{n}");
        assert_eq!(world.source.loads(), loads + 1, "{n}: another was written instead");
        assert!(was_unreadable(&one), "{n}");
    }
    assert_eq!(one.cache.stats().unreadable, 8);
}

#[test]
fn t31_what_is_of_another_type_is_left_alone() {
    let world = World::new();
    let (one, two) = (world.node(), world.node());
    world.remote.put_other_type(NAME);
    world.source.write(7, 1);
    assert_eq!((one.value(7), two.value(7)), (1, 1));
    assert_eq!(one.events().last(), Some(&Event::Foreign { name: NAME.to_vec() }));
    world.live(&[&one, &two], seconds(2));
    assert_eq!(one.local(7), None, "kept within the bound");
    world.source.write(7, 2);
    assert_eq!(one.value(7), 2);
    assert_eq!(one.cache.stats().leases, 0);
}

#[test]
fn t31_names_of_ours_that_nobody_wrote_harm_nobody() {
    let world = World::new();
    let node = world.node();
    assert_eq!(node.value(7), 0);
    for name in
        ["{test.0:", "{test.0:}", "{test.0:k:}", "{test.0:k:x}", "{test.0:k:007}", "{test.0:z"]
    {
        world.remote.put_foreign(name.as_bytes(), b"x");
    }
    world.remote.put_foreign(b"{test.0:t:\xFF}", b"x");
    assert_eq!(node.local(7), Some(0));
    // A number that is none.
    world.remote.put_foreign(b"{test.0:g}", b"x");
    world.live(&[&node], seconds(1));
    world.source.write(7, 1);
    assert_eq!(node.value(7), 1, "past the remote");
    assert_eq!(node.cache.clear(), Delivery::Done, "which puts it right");
    assert_eq!(node.value(7), 1);
}

#[test]
fn t31_two_codecs_do_not_read_each_other() {
    let world = World::new();
    let (one, two) = (node_of(&world, Other(200), |it| it), node_of(&world, Other(201), |it| it));
    assert_eq!((one.value(7), two.value(7)), (0, 0));
    assert_eq!(world.source.loads(), 2);
    assert!(was_unreadable(&two) && !was_unreadable(&one));
}

#[test]
fn t31_two_schemas_do_not_see_each_other() {
    let world = World::new();
    let old = world.node();
    let new = world.node_with(|builder| builder.schema(1));
    assert_eq!((old.value(7), new.value(7)), (0, 0));
    world.live(&[&old, &new], seconds(5));
    assert_eq!((old.local(7), new.local(7)), (Some(0), Some(0)), "no ping-pong");
    assert_eq!((world.source.loads(), new.cache.stats().unreadable), (2, 0));
    assert_eq!(new.cache.clear(), Delivery::Done);
    assert_eq!(old.local(7), Some(0));
}

#[test]
fn t31_what_the_codec_cannot_read_counts_as_none() {
    let world = World::new();
    let (one, two) = (node_of(&world, Other(200), |it| it), node_of(&world, Other(200), |it| it));
    assert_eq!(one.cache.put(7, "?".to_owned()), Delivery::Done);
    world.source.write(7, 1);
    assert_eq!(two.value(7), 1);
    assert!(was_unreadable(&two));
    assert_eq!((one.value(7), world.source.loads()), (1, 1));
}

#[test]
fn what_the_codec_cannot_write_is_served_and_kept_within_the_bound() {
    let world = World::new();
    let (one, two) = (node_of(&world, Other(200), |it| it), node_of(&world, Other(200), |it| it));
    assert_eq!(one.cache.put(7, "1".to_owned()), Delivery::Done);
    assert_eq!(two.value(7), 1);
    assert_eq!(one.cache.put(7, "!2".to_owned()), Delivery::Done);
    assert_eq!((one.cache.get(&7), two.local(7)), (Some("!2".to_owned()), None));
    let why = "not this one".to_owned();
    assert!(one.events().contains(&Event::Unwritable { name: NAME.to_vec(), why }));
    assert_eq!(world.remote.peek(NAME), None, "nothing older is left there");
    world.live(&[&one, &two], seconds(2));
    assert_eq!(one.cache.get(&7), None);
}

#[test]
fn values_over_the_limit_are_neither_written_nor_read() {
    let world = World::new();
    let small: fn(Chosen) -> Chosen = |builder| builder.max_value_bytes(3);
    let (one, two) = (world.node(), world.node_with(small));
    world.source.write(7, 12_345);
    assert_eq!(two.value(7), 12_345);
    two.settle();
    assert_eq!(world.remote.peek(NAME), None);
    assert_eq!((one.value(7), two.local(7)), (12_345, None), "it is told of what it has itself");
    world.live(&[&one, &two], millis(1_100));
    assert_eq!(two.value(7), 12_345);
    assert!(was_unreadable(&two));
    world.live(&[&one, &two], seconds(1));
    let loads = world.source.loads();
    assert_eq!((one.value(7), world.source.loads()), (12_345, loads), "nobody has taken it away");
    world.source.write(8, 123);
    assert_eq!(two.value(8), 123);
    assert!(world.remote.peek(b"{test.0:k:8}").is_some());
}

#[test]
fn processes_need_not_agree_on_compression() {
    let world = World::new();
    let one = world.node();
    let mut others = vec![world.node_with(|builder| builder.compression(Compression::none()))];
    #[cfg(feature = "lz4")]
    others.push(world.node_with(|builder| builder.compression(Compression::lz4())));
    let text = "0".repeat(100_000);
    for node in &others {
        assert_eq!(node.cache.put(7, text.clone()), Delivery::Done);
        assert_eq!(one.load(7).end(), Ok(text.clone()));
    }
    assert_eq!(world.source.loads(), 0);
}
