//! Pingora with next to nothing on top of it: what `make bench-compare` holds Transom against, to tell what of a
//! request's cost is its own. One worker, one upstream, the same forwarding headers, connections kept on both sides; no
//! routes, no log, no metrics, no bounds in time. `plain LISTEN UPSTREAM`, both `ADDRESS:PORT`, HTTP/1.1 in cleartext.

use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::modules::http::HttpModules;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Plain {
    upstream: String,
}

#[async_trait]
impl ProxyHttp for Plain {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream.as_str(), false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        (): &mut (),
    ) -> pingora::Result<()> {
        if let Some(host) = session.req_header().headers.get(http::header::HOST) {
            request.insert_header("X-Forwarded-Host", host.clone())?;
        }
        for (name, value) in [
            ("X-Real-IP", "127.0.0.1"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Port", "80"),
            ("X-Forwarded-Proto", "http"),
        ] {
            request.insert_header(name, value)?;
        }
        Ok(())
    }
}

fn main() {
    let [listen, upstream] = std::env::args().skip(1).collect::<Vec<_>>().try_into().unwrap_or_else(|found| {
        eprintln!("usage: plain LISTEN UPSTREAM, not {found:?}");
        std::process::exit(2)
    });
    let configuration = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: 256,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Plain { upstream });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
