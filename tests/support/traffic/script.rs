//! Upstreams that do to a connection what no proper server does, word by word, and tell what they heard.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::eventually;

/// What is done to each connection once a request's header has come.
#[derive(Clone, Copy)]
pub enum Script {
    /// Sends these bytes and closes.
    Say(&'static [u8]),
    /// Sends these bytes and resets.
    SayAndReset(&'static [u8]),
    /// Sends a 101, and what comes then comes back.
    Upgrade,
    /// Closes without a word.
    Hang,
}

/// One thing that is done to a connection.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads up to the end of the next header block.
    Head,
    /// Reads until what came since the last step contains these bytes.
    Hear(&'static str),
    /// Sends these bytes.
    Say(Bytes),
    /// Reads until it is [released](Actor::release).
    Wait,
    /// Ends what is sent; what comes is still read.
    Finish,
    /// Closes at once.
    Drop,
    /// Resets at once.
    Reset,
}

/// An upstream that plays a list of steps on each connection: the first on the first, and so on, the last one on
/// all that follow. After the last step it reads until the other side ends.
pub struct Actor {
    pub address: SocketAddr,
    connections: Arc<Mutex<Vec<Heard>>>,
    waits: Arc<Semaphore>,
}

/// What came on a connection.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub bytes: Vec<u8>,
    /// How it ended, if it has.
    pub end: Option<End>,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

/// Sends these bytes.
pub fn say(bytes: impl AsRef<[u8]>) -> Step {
    Step::Say(Bytes::copy_from_slice(bytes.as_ref()))
}

/// Runs a script for every connection.
pub async fn upstream(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(play(tcp, script));
        }
    });
    address
}

impl Actor {
    /// Plays the scripts.
    pub async fn play(scripts: Vec<Vec<Step>>) -> Actor {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let waits = Arc::new(Semaphore::new(0));
        let actor = Actor { address, connections: connections.clone(), waits: waits.clone() };
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let number = {
                    let mut connections = connections.lock().unwrap();
                    connections.push(Heard::default());
                    connections.len() - 1
                };
                let steps = scripts.get(number).or(scripts.last()).cloned().unwrap_or_default();
                let stage = Stage { tcp, number, mark: 0, connections: connections.clone() };
                tokio::spawn(stage.act(steps, waits.clone()));
            }
        });
        actor
    }

    /// Plays the same on every connection.
    pub async fn always(steps: Vec<Step>) -> Actor {
        Actor::play(vec![steps]).await
    }

    /// Lets one [`Step::Wait`] end.
    pub fn release(&self) {
        self.waits.add_permits(1);
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// What came so far on a connection.
    pub fn heard(&self, connection: usize) -> String {
        let connections = self.connections.lock().unwrap();
        connections.get(connection).map_or(String::new(), |heard| String::from_utf8_lossy(&heard.bytes).into_owned())
    }

    /// Waits until a connection has heard these bytes.
    pub async fn wait_heard(&self, connection: usize, bytes: &str) -> String {
        eventually(bytes, || async { Some(self.heard(connection)).filter(|heard| heard.contains(bytes)) }).await
    }

    /// Waits until a connection has ended, and tells how.
    pub async fn wait_end(&self, connection: usize) -> End {
        eventually("the connection's end", || async { self.connections.lock().unwrap().get(connection)?.end }).await
    }
}

/// One connection of an [`Actor`].
struct Stage {
    tcp: TcpStream,
    number: usize,
    /// How much of what was heard earlier steps have dealt with.
    mark: usize,
    connections: Arc<Mutex<Vec<Heard>>>,
}

impl Stage {
    async fn act(mut self, steps: Vec<Step>, waits: Arc<Semaphore>) {
        for step in steps {
            match step {
                Step::Head => {
                    if !self.hear("\r\n\r\n").await {
                        return;
                    }
                }
                Step::Hear(bytes) => {
                    if !self.hear(bytes).await {
                        return;
                    }
                }
                Step::Say(bytes) => {
                    if self.tcp.write_all(&bytes).await.is_err() {
                        self.note(End::Reset);
                        return;
                    }
                }
                Step::Wait => {
                    let mut is_open = true;
                    loop {
                        tokio::select! {
                            permit = waits.acquire() => break permit.unwrap().forget(),
                            more = self.read(), if is_open => is_open = more,
                        }
                    }
                }
                Step::Finish => drop(self.tcp.shutdown().await),
                Step::Drop => {
                    self.note(End::Closed);
                    return;
                }
                Step::Reset => {
                    let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
                    self.note(End::Reset);
                    return;
                }
            }
        }
        while self.read().await {}
    }

    /// Reads until the bytes since the mark contain these; whether they came.
    async fn hear(&mut self, bytes: &str) -> bool {
        if bytes.is_empty() {
            return true;
        }
        loop {
            {
                let connections = self.connections.lock().unwrap();
                let heard = &connections[self.number].bytes[self.mark..];
                if let Some(at) = heard.windows(bytes.len()).position(|window| window == bytes.as_bytes()) {
                    self.mark += at + bytes.len();
                    return true;
                }
            }
            if !self.read().await {
                return false;
            }
        }
    }

    async fn read(&mut self) -> bool {
        let mut bytes = Vec::with_capacity(64 * 1024);
        match self.tcp.read_buf(&mut bytes).await {
            Ok(0) => {
                self.note(End::Closed);
                false
            }
            Ok(_) => {
                self.connections.lock().unwrap()[self.number].bytes.extend(bytes);
                true
            }
            Err(_) => {
                self.note(End::Reset);
                false
            }
        }
    }

    fn note(&self, end: End) {
        self.connections.lock().unwrap()[self.number].end = Some(end);
    }
}

async fn play(mut tcp: TcpStream, script: Script) {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if tcp.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    match script {
        Script::Say(bytes) => {
            let _ = tcp.write_all(bytes).await;
            let _ = tcp.shutdown().await;
            // let the other side close first, so that nothing is lost to a reset
            let _ = tokio::time::timeout(Duration::from_secs(5), tcp.read(&mut [0; 64])).await;
        }
        Script::SayAndReset(bytes) => {
            let _ = tcp.write_all(bytes).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
        }
        Script::Upgrade => {
            let head = String::from_utf8_lossy(&head).to_lowercase();
            assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
            assert!(head.contains("sec-websocket-key: x"), "{head}");
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
            let _ = tcp.write_all(answer).await;
            let (mut reader, mut writer) = tcp.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        }
        Script::Hang => {}
    }
}
