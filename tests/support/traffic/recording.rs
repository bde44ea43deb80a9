//! An upstream that keeps every byte, reads it by the letter, and answers whole requests only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::http1::{Read, Request, requests};

/// Answers each whole request with 200 and `METHOD target`.
pub struct Recording {
    pub address: SocketAddr,
    connections: Connections,
}

/// By number, in the order in which they came.
type Connections = Arc<Mutex<BTreeMap<usize, Heard>>>;

/// What came on a connection.
#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

impl Recording {
    pub async fn start() -> Recording {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::default();
        let recording = Recording { address, connections: connections.clone() };
        tokio::spawn(async move {
            for number in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                connections.lock().unwrap().insert(number, Heard::default());
                let connections = connections.clone();
                tokio::spawn(async move {
                    answer(tcp, number, &connections).await;
                    connections.lock().unwrap().get_mut(&number).unwrap().ended = true;
                });
            }
        });
        recording
    }

    /// What came so far, connection by connection.
    pub fn read(&self) -> Result<Vec<Read>, String> {
        self.connections.lock().unwrap().values().map(|heard| requests(&heard.bytes)).collect()
    }

    /// Every whole request so far.
    pub fn whole(&self) -> Vec<Request> {
        self.read().unwrap().into_iter().flat_map(|read| read.whole).collect()
    }

    /// Every whole request as method, target and body, since the last time this was asked.
    pub fn take(&self) -> Vec<String> {
        let summaries = self.whole().iter().map(Request::summary).collect();
        self.connections.lock().unwrap().values_mut().for_each(|heard| heard.bytes.clear());
        summaries
    }

    /// Forgets what is over: whole requests, and connections that have ended within one.
    pub fn forget(&self) {
        let mut connections = self.connections.lock().unwrap();
        connections.retain(|_, heard| !heard.ended);
        for heard in connections.values_mut() {
            if requests(&heard.bytes).is_ok_and(|read| read.rest.is_empty()) {
                heard.bytes.clear();
            }
        }
    }

    /// All bytes so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.connections.lock().unwrap().values().flat_map(|heard| heard.bytes.clone()).collect()
    }
}

async fn answer(mut tcp: TcpStream, number: usize, connections: &Connections) {
    tcp.set_nodelay(true).unwrap();
    let mut answered = 0;
    let mut bytes = Vec::with_capacity(256 * 1024); // of an empty one little is read at a time
    while tcp.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
        let read = {
            let mut connections = connections.lock().unwrap();
            let heard = &mut connections.get_mut(&number).unwrap().bytes;
            if heard.is_empty() {
                answered = 0; // it was taken
            }
            heard.append(&mut bytes);
            requests(heard)
        };
        let Ok(read) = read else { return }; // who asks hears of it
        for request in &read.whole[answered..] {
            let line = request.line();
            let body = if line.starts_with("HEAD ") { "" } else { &line };
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", line.len());
            if tcp.write_all(text.as_bytes()).await.is_err() {
                return;
            }
        }
        answered = read.whole.len();
    }
}
