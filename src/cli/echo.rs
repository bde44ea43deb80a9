//! `transom echo`: the echo server, on its own.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::outcome::{aside, show};
use super::{Failure, Outcome};
use crate::echo::{self, Echo};
use crate::lifecycle::Signals;

/// Answer each request with what was received: HTTP/1.1, h2c, WebSocket, gRPC; TCP and UDP byte for byte.
///
/// The answer is JSON with method, path, host and headers; it names itself by the variables NAMESPACE, POD_NAME and
/// SERVICE_NAME. A port of 0 is any free one.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Port for HTTP/1.1, h2c, WebSocket and gRPC.
    #[arg(long, value_name = "PORT", default_value_t = 3000)]
    http_port: u16,

    /// Port for TCP.
    #[arg(long, value_name = "PORT")]
    tcp_port: Option<u16>,

    /// Port for UDP.
    #[arg(long, value_name = "PORT")]
    udp_port: Option<u16>,

    /// Address to listen on [default: every address].
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Unavailable(format!("threads: {error}")))?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &Arguments) -> Result<Outcome, Failure> {
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let mut lines = String::new();
    let mut served = |what: &str, address: std::io::Result<SocketAddr>| {
        let _ = writeln!(lines, "{what} on {}", address.map_or_else(|_| "?".to_owned(), |a| a.to_string()));
    };

    let http = listen(arguments.address, arguments.http_port).await?;
    served("HTTP", http.local_addr());
    tasks.spawn(echo::serve(http, Echo::from_env(), shutdown.clone()));
    if let Some(port) = arguments.tcp_port {
        let tcp = listen(arguments.address, port).await?;
        served("TCP", tcp.local_addr());
        tasks.spawn(echo::serve_tcp(tcp, shutdown.clone()));
    }
    if let Some(port) = arguments.udp_port {
        let udp = receive(arguments.address, port).await?;
        served("UDP", udp.local_addr());
        tasks.spawn(echo::serve_udp(udp, shutdown.clone()));
    }
    tasks.close();

    let mut signals = Signals::catch().map_err(|error| Failure::Unavailable(format!("signals: {error}")))?;
    show(&lines)?;
    signals.next().await;
    shutdown.cancel();
    tokio::select! {
        () = tasks.wait() => {}
        _ = signals.next() => aside("note: ended before all was answered"),
    }
    Ok(Outcome::Fine)
}

async fn listen(address: Option<IpAddr>, port: u16) -> Result<TcpListener, Failure> {
    match TcpListener::bind(addresses(address, port).as_slice()).await {
        Ok(listener) => Ok(listener),
        Err(error) => Err(refused("TCP", address, port, &error)),
    }
}

async fn receive(address: Option<IpAddr>, port: u16) -> Result<UdpSocket, Failure> {
    match UdpSocket::bind(addresses(address, port).as_slice()).await {
        Ok(socket) => Ok(socket),
        Err(error) => Err(refused("UDP", address, port, &error)),
    }
}

/// Tried in order: both families at once, or IPv4 on a machine that has no IPv6.
fn addresses(address: Option<IpAddr>, port: u16) -> Vec<SocketAddr> {
    match address {
        Some(ip) => vec![SocketAddr::new(ip, port)],
        None => vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()],
    }
}

fn refused(protocol: &str, address: Option<IpAddr>, port: u16, error: &std::io::Error) -> Failure {
    let address = address.map_or_else(|| "*".to_owned(), |ip| ip.to_string());
    Failure::Unavailable(format!("{protocol} port {port} on {address}: {error}"))
}
