//! A client for one watch, through which watches begin at a bounded rate.
//!
//! A watch that the API server ends in good order is begun again by kube's watcher at once, and nobody is told: with
//! a server, or something before it, that ends each one right away that is a loop without a pause.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Uri};
use kube::Client;
use kube::client::Body;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// `client`, for one watch: of two watches the second begins `pause` after the first did, if not later.
pub fn paced(client: Client, pause: Duration) -> Client {
    let namespace = client.default_namespace().to_owned();
    let not_before = Arc::new(Mutex::new(Instant::now()));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, not_before) = (client.clone(), Arc::clone(&not_before));
        async move {
            if is_watch(request.uri()) {
                let mut not_before = not_before.lock().await;
                sleep_until(*not_before).await;
                *not_before = Instant::now() + pause;
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

fn is_watch(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|parameter| parameter == "watch=true")
}
