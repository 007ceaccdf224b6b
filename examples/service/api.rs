//! What is asked for by HTTP, and what is answered.

use super::cache::{Products, tag};
use super::shop::{Product, Shop};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use cachette::tier::Delivery;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Display;

type Answer = Result<Json<Value>, (StatusCode, String)>;

#[derive(Clone)]
struct Service {
    products: Products,
    shop: Shop,
}

pub(crate) fn routes(products: Products, shop: Shop) -> Router {
    Router::new()
        .route("/products/{id}", get(product).put(write))
        .route("/products", get(some))
        .route("/categories/{name}", delete(forget))
        .route("/health", get(health))
        .route("/stats", get(stats))
        .with_state(Service { products, shop })
}

async fn product(State(service): State<Service>, Path(id): Path<i64>) -> Answer {
    match service.products.load_async(&id).await {
        Ok(Some(product)) => Ok(Json(json!(product))),
        Ok(None) => Err((StatusCode::NOT_FOUND, format!("there is no product {id}"))),
        Err(error) => Err(failed(&error)),
    }
}

#[derive(Deserialize)]
struct Wanted {
    ids: String,
}

/// Those that there are, in the order in which they were asked for. Whatever the cache lacks is one question to the Redis, and one query.
async fn some(State(service): State<Service>, Query(wanted): Query<Wanted>) -> Answer {
    let ids: Result<Vec<i64>, _> = wanted.ids.split(',').map(str::parse).collect();
    let ids = ids.map_err(|error| (StatusCode::BAD_REQUEST, format!("ids: {error}")))?;
    let mut answer = Vec::new();
    for (id, product) in ids.iter().zip(service.products.load_many_async(&ids).await) {
        if let Some(product) = product.map_err(|error| failed(&error))? {
            answer.push(json!({ "id": id, "product": product }));
        }
    }
    Ok(Json(json!(answer)))
}

/// The database first. A load that began before is kept nowhere, in no instance: the deletion takes its lease away.
async fn write(
    State(service): State<Service>,
    Path(id): Path<i64>,
    Json(product): Json<Product>,
) -> Answer {
    service.shop.write(id, product).await.map_err(|error| failed(&error))?;
    Ok(told(&service.products.delete_async(&id).await))
}

/// Has the products of a category read anew: for whoever has changed them by other ways than this service.
async fn forget(State(service): State<Service>, Path(name): Path<String>) -> Answer {
    Ok(told(&service.products.delete_tag_async(&tag(&name)).await))
}

/// A cache whose Redis is gone still serves: that is worth an alarm, and no reason to be restarted.
async fn health(State(Service { products, .. }): State<Service>) -> Json<Value> {
    Json(json!({
        "mode": products.mode().map(|mode| mode.to_string()),
        "max_staleness_ms": products.max_staleness().as_millis() as u64,
        "undelivered": products.undelivered(),
    }))
}

async fn stats(State(service): State<Service>) -> Json<Value> {
    let stats = service.products.stats();
    let Json(health) = health(State(service)).await;
    Json(json!({
        "health": health,
        "local": {
            "hits": stats.local.hits,
            "misses": stats.local.misses,
            "entries": stats.local.entries,
            "refreshes": stats.local.refreshes,
            "stale": stats.local.stale,
        },
        "remote": {
            "hits": stats.remote_hits,
            "leases": stats.leases,
            "waits": stats.waits,
            "alone": stats.alone,
            "rejected": stats.rejected,
            "unreadable": stats.unreadable,
            "changes": stats.changes,
            "emptied": stats.emptied,
            "undelivered": stats.undelivered,
        },
    }))
}

/// What became of a deletion. Either way it is done here, and will be everywhere.
fn told(delivery: &Delivery) -> Json<Value> {
    Json(match delivery {
        Delivery::Done => json!({ "delivery": "done" }),
        Delivery::Older => json!({ "delivery": "older" }),
        Delivery::Queued(cause) => json!({ "delivery": "queued", "cause": cause.to_string() }),
    })
}

fn failed(error: &impl Display) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}
