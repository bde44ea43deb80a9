//! What stands between Pingora's connections and its proxy: each HTTP/2 request runs under the limits that it sets
//! for itself. HTTP/1 requests run under those of their connection, which is served as one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::listener::connection::Connection;
use super::{GatewayProxy, deadline, facts};

/// The proxy, as connections are given to it.
pub struct Edge {
    /// Serves requests.
    pub proxy: Arc<HttpProxy<GatewayProxy>>,
}

/// A request of an HTTP/2 connection, counted there as long as it lasts.
struct Served(Arc<Connection>);

impl Served {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.began();
        Served(connection.clone()) // shared within this thread alone
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.ended();
    }
}

#[async_trait]
impl HttpServerApp for Edge {
    // Written out: with async_trait every HTTP/1 request would pay for a second boxed future.
    fn process_new_http<'this, 'watch, 'future>(
        self: &'this Arc<Self>,
        session: ServerSession,
        shutdown: &'watch ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'future>>
    where
        'this: 'future,
        'watch: 'future,
        Self: 'future,
    {
        let served = session.is_http2().then(|| session.digest().and_then(facts).map(Served::new));
        let request = self.proxy.process_new_http(session, shutdown);
        let Some(served) = served else { return request };
        let watched = deadline::watch(request, None);
        Box::pin(async move {
            let _served = served;
            watched.await.flatten()
        })
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    fn h2_options(&self) -> Option<H2Options> {
        HttpServerApp::h2_options(&*self.proxy)
    }
}
