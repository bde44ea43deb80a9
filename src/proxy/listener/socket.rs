//! Listening sockets: one for each worker on one address, which the kernel shares connections out to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel's own bound (`somaxconn`) is usually lower.
const BACKLOG: i32 = 4096;

/// Bytes that wait in the kernel to be sent to a client, beyond those that are on their way. Without a bound a client
/// that reads nothing has it hold 4 MiB, and a few hundred of them use up what all sockets of the host share.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// Whether somebody else may be listening where we are about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbours {
    /// Sockets of ours on the same port would be mistaken for a stranger's: do not look.
    Ours,
    /// Nobody of ours: a listener there is a stranger's, and the port is taken.
    None,
}

/// Opens `count` sockets on an address. `[::]` stands for every address of both families, or of IPv4 alone where
/// the host has no IPv6.
///
/// # Errors
/// That of the first socket that cannot be had; none stays open then.
pub fn open(address: SocketAddr, count: usize, neighbours: Neighbours) -> io::Result<Vec<TcpListener>> {
    match open_exactly(address, count, neighbours) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            open_exactly((Ipv4Addr::UNSPECIFIED, address.port()).into(), count, neighbours)
        }
        outcome => outcome,
    }
}

/// Why an address cannot be bound now, for a person; `None` if it can. Nothing is accepted on it meanwhile, and what
/// other processes of this user accept on it goes on.
#[must_use]
pub fn refusal(address: SocketAddr) -> Option<String> {
    match bound(address, Sharing::Shared) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks_ipv6(&error) => {
            bound((Ipv4Addr::UNSPECIFIED, address.port()).into(), Sharing::Shared).err()
        }
        outcome => outcome.err(),
    }
    .map(|error| explain(&error))
}

fn open_exactly(address: SocketAddr, count: usize, neighbours: Neighbours) -> io::Result<Vec<TcpListener>> {
    if neighbours == Neighbours::None {
        // SO_REUSEPORT lets a second process of the same user share the port in silence. A socket without it is
        // refused if anybody listens there.
        drop(listen(&bound(address, Sharing::Alone)?)?);
    }
    (0..count).map(|_| listen(&bound(address, Sharing::Shared)?)).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Shared,
}

fn bound(address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?; // connections of an earlier life in TIME_WAIT do not hold the port
    if sharing == Sharing::Shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listen(socket: &Socket) -> io::Result<TcpListener> {
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT)?; // connections that are accepted have it from here
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.try_clone()?.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT))
}

/// Whether somebody else listens there.
#[must_use]
pub fn is_taken(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EADDRINUSE)
}

/// Why a socket cannot be had, for a person.
#[must_use]
pub fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => "EADDRINUSE: address in use by another process".to_owned(),
        Some(libc::EACCES) => {
            "EACCES: permission denied; a port below 1024 needs CAP_NET_BIND_SERVICE or --port-offset".to_owned()
        }
        Some(libc::EADDRNOTAVAIL) => "EADDRNOTAVAIL: not an address of this host".to_owned(),
        Some(libc::EMFILE | libc::ENFILE) => "EMFILE: no file descriptor left".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_a_stranger_listens_on_is_in_use_even_if_he_would_share() {
        let theirs = bound(([127, 0, 0, 1], 0).into(), Sharing::Shared).unwrap();
        let listener = listen(&theirs).unwrap();
        let address = listener.local_addr().unwrap();
        let error = open(address, 2, Neighbours::None).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        assert!(explain(&error).contains("in use"));
        drop((theirs, listener));
        assert_eq!(open(address, 2, Neighbours::None).unwrap().len(), 2);
    }

    #[test]
    fn the_unspecified_address_takes_both_families() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        let _listeners = open(address, 1, Neighbours::None).unwrap();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_waits_for_a_client_in_the_kernel_is_bounded() {
        let listener = open(([127, 0, 0, 1], 0).into(), 1, Neighbours::Ours).unwrap().remove(0);
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(socket2::SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), UNSENT);
    }

    #[test]
    fn an_address_of_another_host_is_said_to_be_one() {
        let error = open(([192, 0, 2, 1], 8080).into(), 1, Neighbours::None).unwrap_err();
        assert!(explain(&error).contains("not an address of this host"));
    }
}
