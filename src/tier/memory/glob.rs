//! Patterns of names, with the meaning that they have in Redis.
//!
//! | part | matches |
//! |---|---|
//! | `*` | any bytes, also none |
//! | `?` | one byte |
//! | `[a-z_]`, `[^a-z]` | one byte that is, or is not, in the class; a range may be written either way round |
//! | `\x` | `x`, also in a class |
//! | another byte | itself |
//!
//! A class that is not closed ends with the pattern. A `\` at the very end is itself.
//!
//! | operation | cost |
//! |---|---|
//! | `Glob::new` | O(pattern) |
//! | `matches` | O(pattern x name) at worst; O(name) where there is one `*` at most |

/// A pattern, taken apart.
pub(crate) struct Glob(Vec<Part>);

enum Part {
    Byte(u8),
    AnyByte,
    AnyBytes,
    /// `true` if the byte must not be in one of the ranges.
    Class(bool, Vec<(u8, u8)>),
}

impl Glob {
    pub(crate) fn new(pattern: &[u8]) -> Self {
        let (mut parts, mut rest) = (Vec::new(), pattern);
        while let [first, after @ ..] = rest {
            rest = after;
            parts.push(match (first, after) {
                (b'*', _) => Part::AnyBytes,
                (b'?', _) => Part::AnyByte,
                (b'[', _) => class(&mut rest),
                (b'\\', [escaped, after @ ..]) => {
                    rest = after;
                    Part::Byte(*escaped)
                }
                (byte, _) => Part::Byte(*byte),
            });
        }
        Self(parts)
    }

    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        let (mut parts, mut rest) = (self.0.as_slice(), name);
        // What follows the last `*`, and what is left of the name if that took one byte more. An earlier `*` need not be asked again:
        // what it could take in addition, the last one can take as well.
        let mut again: Option<(&[Part], &[u8])> = None;
        loop {
            let step = match (parts, rest) {
                ([], []) => return true,
                ([Part::AnyBytes, after @ ..], _) => {
                    again = Some((after, rest));
                    Some((after, rest))
                }
                ([part, after @ ..], [byte, left @ ..]) if part.takes(*byte) => Some((after, left)),
                _ => None,
            };
            (parts, rest) = match (step, again) {
                (Some(step), _) => step,
                (None, Some((after, [_, left @ ..]))) => {
                    again = Some((after, left));
                    (after, left)
                }
                (None, _) => return false,
            };
        }
    }
}

impl Part {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::AnyByte => true,
            Self::AnyBytes => false,
            Self::Class(not, ranges) => {
                *not != ranges.iter().any(|&(from, to)| (from..=to).contains(&byte))
            }
        }
    }
}

/// Reads a class whose `[` has been read.
fn class(rest: &mut &[u8]) -> Part {
    let mut not = false;
    if let [b'^', after @ ..] = *rest {
        (not, *rest) = (true, after);
    }
    let mut ranges = Vec::new();
    loop {
        let (range, after) = match *rest {
            [] => break,
            [b']', after @ ..] => {
                *rest = after;
                break;
            }
            [b'\\', byte, after @ ..] => ((*byte, *byte), after),
            [from, b'-', to, after @ ..] => ((*from.min(to), *from.max(to)), after),
            [byte, after @ ..] => ((*byte, *byte), after),
        };
        ranges.push(range);
        *rest = after;
    }
    Part::Class(not, ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// The same, byte by byte and with every choice tried.
    fn slow(pattern: &[u8], name: &[u8]) -> bool {
        let Some(&first) = pattern.first() else { return name.is_empty() };
        if first == b'*' {
            return (0..=name.len()).any(|taken| slow(&pattern[1..], &name[taken..]));
        }
        let Some(&byte) = name.first() else { return false };
        let (takes, used) = match first {
            b'?' => (true, 1),
            b'\\' if pattern.len() > 1 => (pattern[1] == byte, 2),
            b'[' => {
                let (takes, used) = slow_class(&pattern[1..], byte);
                (takes, used + 1)
            }
            other => (other == byte, 1),
        };
        takes && slow(&pattern[used..], &name[1..])
    }

    fn slow_class(class: &[u8], byte: u8) -> (bool, usize) {
        let not = class.first() == Some(&b'^');
        let (mut at, mut found) = (usize::from(not), false);
        while at < class.len() && class[at] != b']' {
            if class[at] == b'\\' && at + 1 < class.len() {
                found |= class[at + 1] == byte;
                at += 2;
            } else if at + 2 < class.len() && class[at + 1] == b'-' {
                let (one, other) = (class[at], class[at + 2]);
                found |= (one <= byte && byte <= other) || (other <= byte && byte <= one);
                at += 3;
            } else {
                found |= class[at] == byte;
                at += 1;
            }
        }
        (found != not, (at + 1).min(class.len()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn it_matches_what_the_slow_one_matches(
            pattern in vec(select(b"aabc***??[[]]^--\\".as_slice()), 0..10),
            name in vec(select(b"aaabc]-^\\\0".as_slice()), 0..8),
        ) {
            prop_assert_eq!(Glob::new(&pattern).matches(&name), slow(&pattern, &name));
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        for (pattern, yes, no) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", "a\nb"], &[]),
            ("h?llo", &["hello", "h\0llo"], &["hllo", "heello"]),
            ("h*llo", &["hllo", "heeello"], &["hell"]),
            ("h[ae]llo", &["hello", "hallo"], &["hillo"]),
            ("h[^e]llo", &["hallo"], &["hello"]),
            ("h[a-b]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]),
            ("\\*\\[", &["*["], &["a["]),
            ("[\\]]", &["]"], &["\\"]),
            ("[]", &[], &["", "]", "a"]),
            ("[^]", &["a", "]"], &[""]),
            ("[ab", &["a", "b"], &["c", "["]),
            ("a\\", &["a\\"], &["a"]),
            ("*a*b*", &["ab", "xaxbx", "aab"], &["ba", "a"]),
        ] {
            let glob = Glob::new(pattern.as_bytes());
            for name in yes {
                assert!(glob.matches(name.as_bytes()), "{pattern:?} matches {name:?}");
            }
            for name in no {
                assert!(!glob.matches(name.as_bytes()), "{pattern:?} does not match {name:?}");
            }
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_one_for_each_byte() {
        let pattern = [b'a', b'*'].repeat(500);
        let name = [[b'a'].repeat(10_000), vec![b'b']].concat();
        assert!(Glob::new(&pattern).matches(&name));
        let pattern = [pattern, vec![b'c']].concat();
        assert!(!Glob::new(&pattern).matches(&name));
    }
}
