//! What the compiler must refuse, each beside a twin that differs in one thing and compiles. Nothing here is code of the
//! crate: it exists for `cargo test --doc` alone.
//!
//! # A cache is `Send` and `Sync` if keys and values are both
//!
//! Values are shared with readers, so a cache that moves to another thread may leave a value on this one.
//!
//! ```
//! fn movable<T: Send + Sync>() {}
//! movable::<cachette::Cache<String, std::sync::Arc<u8>>>();
//! ```
//!
//! A value that is not `Send`:
//!
//! ```compile_fail,E0277
//! fn movable<T: Send>() {}
//! movable::<cachette::Cache<String, std::rc::Rc<u8>>>();
//! ```
//!
//! ```compile_fail,E0277
//! fn shareable<T: Sync>() {}
//! shareable::<cachette::Cache<String, std::rc::Rc<u8>>>();
//! ```
//!
//! A key that is not:
//!
//! ```compile_fail,E0277
//! fn movable<T: Send>() {}
//! movable::<cachette::Cache<std::rc::Rc<u8>, String>>();
//! ```
//!
//! A value that is `Send` and not `Sync`:
//!
//! ```compile_fail,E0277
//! fn movable<T: Send>() {}
//! movable::<cachette::Cache<String, std::cell::Cell<u8>>>();
//! ```
//!
//! ```compile_fail,E0277
//! fn shareable<T: Sync>() {}
//! shareable::<cachette::Cache<String, std::cell::Cell<u8>>>();
//! ```
//!
//! On one thread all of them are good values:
//!
//! ```
//! let cache = cachette::Cache::new(1);
//! cache.put("rc", std::rc::Rc::new(std::cell::Cell::new(7)));
//! assert_eq!(cache.get("rc").unwrap().get(), 7);
//! ```
//!
//! # Only what returns a value clones it
//!
//! ```
//! struct Plain(u8);
//! let cache = cachette::Cache::new(1);
//! cache.put(1, Plain(7));
//! assert_eq!(cache.get_with(&1, |plain| plain.0), Some(7));
//! assert!(cache.contains_key(&1) && cache.delete(&1));
//! ```
//!
//! ```compile_fail,E0277
//! struct Plain(u8);
//! let cache = cachette::Cache::new(1);
//! cache.put(1, Plain(7));
//! let _ = cache.get(&1);
//! ```
//!
//! ```compile_fail,E0277
//! struct Plain(u8);
//! let cache = cachette::Cache::new(1);
//! cache.put(1, Plain(7));
//! let _ = cache.take(&1);
//! ```
//!
//! ```compile_fail,E0277
//! struct Plain(u8);
//! let cache = cachette::Cache::<i32, _>::new(1);
//! let _ = cache.get_or_load(&1, |_| Plain(7));
//! ```
//!
//! # A cache of any type may be held; keys are hashed and compared where it is used
//!
//! ```
//! struct Opaque;
//! struct Holder<K> {
//!     cache: cachette::Cache<K, u8>,
//! }
//! let holder = Holder::<Opaque> { cache: cachette::Cache::new(1) };
//! assert_eq!(holder.cache.capacity(), 1);
//! ```
//!
//! ```compile_fail,E0599
//! struct Opaque;
//! let cache = cachette::Cache::<Opaque, u8>::new(1);
//! cache.put(Opaque, 7);
//! ```
//!
//! ```compile_fail,E0599
//! #[derive(PartialEq, Eq)]
//! struct Comparable;
//! let cache = cachette::Cache::<Comparable, u8>::new(1);
//! cache.put(Comparable, 7);
//! ```
//!
//! ```
//! #[derive(Hash, PartialEq, Eq)]
//! struct Good;
//! let cache = cachette::Cache::<Good, u8>::new(1);
//! cache.put(Good, 7);
//! ```
//!
//! # What is borrowed may be cached, for as long as it lives
//!
//! ```
//! let text = String::from("to be or not to be");
//! let counts = cachette::Cache::new(10);
//! for word in text.split(' ') {
//!     let counted = counts.get_or_load(&word, |word| word.len()).unwrap();
//!     counts.put(word, counted + 1);
//! }
//! assert_eq!(counts.get("not"), Some(4));
//! ```
//!
//! ```compile_fail,E0597
//! let counts = cachette::Cache::new(10);
//! {
//!     let text = String::from("to be or not to be");
//!     counts.put(text.as_str(), 1);
//! }
//! assert_eq!(counts.get("not"), None);
//! ```
//!
//! # What a thread of its own maintains must own what it caches
//!
//! ```
//! use cachette::{Cache, Maintainer};
//! use std::{sync::Arc, time::Duration};
//!
//! let text = String::from("owned");
//! let cache = Arc::new(Cache::<String, u8>::new(10));
//! cache.put(text.clone(), 1);
//! drop(Maintainer::start(&cache, Duration::from_secs(60)).unwrap());
//! ```
//!
//! ```compile_fail,E0597
//! use cachette::{Cache, Maintainer};
//! use std::{sync::Arc, time::Duration};
//!
//! let text = String::from("borrowed");
//! let cache = Arc::new(Cache::<&str, u8>::new(10));
//! cache.put(&text, 1);
//! drop(Maintainer::start(&cache, Duration::from_secs(60)).unwrap());
//! ```
//!
//! A loader's error is kept with the flight, whose joiners may be anyone:
//!
//! ```
//! let cache = cachette::Cache::<u8, u8>::new(10);
//! let text = String::from("no");
//! assert!(cache.get_or_load(&1, |_| Err::<u8, _>(text.clone())).is_err());
//! ```
//!
//! ```compile_fail,E0597
//! let cache = cachette::Cache::<u8, u8>::new(10);
//! let text = String::from("no");
//! assert!(cache.get_or_load(&1, |_| Err::<u8, _>(text.as_str())).is_err());
//! ```
