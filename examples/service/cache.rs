//! The two levels, and all that is chosen for them.

use super::shop::{Failure, Product, Shop};
use cachette::tier::{Json, MemoryRemote, RedisOptions, RedisTokio, Remote, TieredCache};
use cachette::{Cache, Freshness, Tokio};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// `None` is kept as well: that there is no such product.
pub(crate) type Products = TieredCache<i64, Option<Product>, Failure>;

pub(crate) fn products(redis: Option<&str>, shop: Shop) -> Result<Products, Box<dyn Error>> {
    let remote: Arc<dyn Remote> = match redis {
        Some(url) => Arc::new(RedisTokio::new(RedisOptions::new(url)?, Handle::current())),
        None => {
            eprintln!("no --redis: the second level is in this process, and no other sees it");
            Arc::new(MemoryRemote::new())
        }
    };
    let seconds = Duration::from_secs;
    let (one, many) = (shop.clone(), shop);
    let products = Cache::builder()
        .capacity(100_000)
        // A database that fails is not noticed for an hour, where the value is still there.
        .freshness(
            Freshness::new(seconds(60))
                .jitter(0.1)
                .refresh_ahead(0.8)
                .stale_if_error(seconds(3_600)),
        )
        .loader_async(move |id| one.clone().product(id))
        .bulk_loader_async(move |ids| many.clone().products(ids))
        .spawn(Tokio::current()?)
        .remote(remote, Json)
        .namespace("products")
        // To be raised with each change of `Product` that an older program cannot read.
        .schema(1)
        .remote_ttl(seconds(600))
        .max_staleness(seconds(2))
        .tags(|_id, product: &Option<Product>| {
            product.iter().map(|product| tag(&product.category)).collect()
        })
        .on_event(|event, left_out| {
            eprintln!("cache: {event:?}; {left_out} such before were left out");
        })
        .build()?;
    Ok(products)
}

/// The tag of all products of a category.
pub(crate) fn tag(category: &str) -> String {
    format!("category:{category}")
}
