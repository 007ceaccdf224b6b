//! The system of record behind a cache, and the ways to write to it: through, around and behind.
