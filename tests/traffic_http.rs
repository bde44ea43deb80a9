//! Cleartext traffic over real sockets: HTTP/1.1 and h2c on one port, listeners and routes, the gateway's own
//! answers.

#[path = "support/traffic/mod.rs"]
mod support;

use support::Gateway;
use support::client::{Client, get};
use support::config::{Config, listener};
use support::free_address;
use support::upstream::Echo;

#[tokio::test]
async fn one_port_speaks_http1_and_h2c() {
    let echo = Echo::start("a").await;
    let mut gateway = Gateway::start();
    let mut config = Config::default();
    let rule = config.to("a", echo.address);
    let address = free_address();
    gateway.serve(config.http(address, vec![listener("l", None, rule)]).build()).await;

    let answer = get(address, "http://example.com/hello?x=1").await;
    assert_eq!(answer.summary(), "200 a");
    assert_eq!(answer.fact("target"), Some("/hello?x=1"));
    assert_eq!(answer.fact("host"), Some("example.com"));

    let answer = Client::h2(address).await.get("http://example.com/hello?x=1").await.unwrap();
    assert_eq!(answer.summary(), "200 a");
    assert_eq!(answer.version, hyper::Version::HTTP_2);
    assert_eq!(answer.fact("host"), Some("example.com"));
    assert_eq!(answer.fact("version"), Some("HTTP/1.1"));
}
