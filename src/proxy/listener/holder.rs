//! Who holds a port that cannot be had, as far as the kernel tells: the table of listening sockets names a user and a
//! number, and the descriptors of a process that we may look into show the same number.
//!
//! An address comes in; a process, or its user, goes out. Asked only after a failure, and bounded.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::overlap;

/// Lines of the table that are read: listening sockets come first in it.
const LINES: usize = 16_384;
/// Processes that are looked into, and descriptors of each.
const MOST: usize = 16_384;

/// Who listens on an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A process that we may look into.
    Process {
        /// Its name, cut to 15 characters by the kernel.
        name: String,
        /// Its number.
        pid: u32,
    },
    /// One that is hidden from us: in another container, or somebody else's.
    User(u32),
}

/// A listening socket.
#[derive(Debug, PartialEq, Eq)]
struct Listening {
    address: SocketAddr,
    uid: u32,
    inode: u64,
}

impl Holder {
    /// Who stands in the way of a socket on `address`; none if the kernel does not tell.
    pub fn find(address: SocketAddr) -> Option<Holder> {
        let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].into_iter().filter_map(|path| File::open(path).ok());
        let lines = tables.flat_map(|table| BufReader::new(table).lines().map_while(Result::ok).take(LINES));
        let found = lines.filter_map(|line| listening(&line)).find(|found| overlap(found.address, address))?;
        Some(process_with(found.inode).unwrap_or(Holder::User(found.uid)))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Process { name, pid } => write!(f, "held by {name:?} (pid {pid})"),
            Holder::User(uid) => write!(f, "held by a process of uid {uid}"),
        }
    }
}

/// A line of `/proc/net/tcp` or `tcp6` (proc_pid_net(5)), if it is of a listening socket.
fn listening(line: &str) -> Option<Listening> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields.next()?;
    let state = fields.nth(1)?;
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == LISTEN).then_some(Listening { address: SocketAddr::new(ip_of(ip)?, port), uid, inode })
}

/// Words of 32 bits in hexadecimal, each as the machine has it in memory.
fn ip_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(IpAddr::from(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

fn process_with(inode: u64) -> Option<Holder> {
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten().take(MOST);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().take(MOST);
        descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| link.as_os_str() == socket.as_str())
    };
    let pid = pids.find(holds)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned();
    Some(Holder::Process { name, pid })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_both_tables_are_read_and_only_listening_sockets_count() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 4711 1 \
                    0000000000000000 100 0 0 10 0";
        let found = listening(line).unwrap();
        assert_eq!(found, Listening { address: "127.0.0.1:8080".parse().unwrap(), uid: 998, inode: 4711 });
        assert_eq!(listening(&line.replace(" 0A ", " 01 ")), None);
        let any = "   0: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A \
                   00000000:00000000 00:00000000 00000000     0        0 5 1";
        assert_eq!(listening(any).unwrap().address, "[::]:443".parse().unwrap());
        let one = any.replacen("00000000000000000000000000000000:01BB", "B80D0120000000000000000001000000:0050", 1);
        assert_eq!(listening(&one).unwrap().address, "[2001:db8::1]:80".parse().unwrap());
        let mapped = any.replacen("00000000000000000000000000000000:01BB", "0000000000000000FFFF00000100007F:0050", 1);
        assert_eq!(listening(&mapped).unwrap().address, "127.0.0.1:80".parse().unwrap());
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        for text in [head, "", "0:", "0: x:y z 0A", "0: 0100007F:1F90 0:0 0A 0:0 0:0 0 -1 0 5"] {
            assert_eq!(listening(text), None, "{text}");
        }
    }

    #[test]
    fn a_port_that_this_process_holds_is_said_to_be_its() {
        let name = fs::read_to_string("/proc/self/comm").unwrap().trim_end().to_owned();
        for bound in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(bound).unwrap();
            let port = listener.local_addr().unwrap().port();
            let found = Holder::find(([127, 0, 0, 1], port).into()).unwrap();
            assert_eq!(found, Holder::Process { name: name.clone(), pid: std::process::id() });
            assert_eq!(found.to_string(), format!("held by {name:?} (pid {})", std::process::id()));
            if bound.starts_with("127") {
                assert_eq!(Holder::find(([127, 0, 0, 2], port).into()), None, "another address is not in the way");
            }
            drop(listener);
            assert_eq!(Holder::find(([127, 0, 0, 1], port).into()), None);
        }
    }

    #[test]
    fn a_process_that_is_hidden_is_told_by_its_user() {
        assert_eq!(Holder::User(0).to_string(), "held by a process of uid 0");
    }
}
