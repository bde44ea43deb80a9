//! An upstream that keeps every byte, reads it by the letter, and answers whole requests only.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::http1::{Read, Request, requests};

/// Answers each whole request with 200 and `METHOD target`.
pub struct Recording {
    pub address: SocketAddr,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recording {
    pub async fn start() -> Recording {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let recording = Recording { address, connections: connections.clone() };
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let number = {
                    let mut connections = connections.lock().unwrap();
                    connections.push(Vec::new());
                    connections.len() - 1
                };
                tokio::spawn(answer(tcp, number, connections.clone()));
            }
        });
        recording
    }

    /// What came so far, connection by connection.
    pub fn read(&self) -> Result<Vec<Read>, String> {
        self.connections.lock().unwrap().iter().map(|bytes| requests(bytes)).collect()
    }

    /// Every whole request so far.
    pub fn whole(&self) -> Vec<Request> {
        self.read().unwrap().into_iter().flat_map(|read| read.whole).collect()
    }

    /// Every whole request as method, target and body, since the last time this was asked.
    pub fn take(&self) -> Vec<String> {
        let summaries = self.whole().iter().map(Request::summary).collect();
        self.connections.lock().unwrap().iter_mut().for_each(Vec::clear);
        summaries
    }

    /// All bytes so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.connections.lock().unwrap().concat()
    }
}

async fn answer(mut tcp: TcpStream, number: usize, connections: Arc<Mutex<Vec<Vec<u8>>>>) {
    tcp.set_nodelay(true).unwrap();
    let mut answered = 0;
    let mut bytes = Vec::new();
    while tcp.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
        let read = {
            let mut connections = connections.lock().unwrap();
            if connections[number].is_empty() {
                answered = 0; // it was taken
            }
            connections[number].append(&mut bytes);
            requests(&connections[number])
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
