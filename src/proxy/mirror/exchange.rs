//! One copy on its connection: header, body as it comes, and the answer, which is read and thrown away so that the
//! connection can be used again.

use std::future::Future;
use std::time::Duration;

use pingora::http::RequestHeader;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::client::HttpSession;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::queue::Piece;
use crate::telemetry::MirrorResult;

/// From when a piece of the body comes to when it is sent, and from the last piece to the end of the answer. A
/// copy lasts as long as its request's upload and this time.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of an answer's body that are read. Enough for what echoes the request; more is not worth a connection.
pub const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Request and answer are whole: the connection is as good as before.
    Whole,
    /// The request was sent and an answer began, but did not end within its bounds.
    Answered,
    /// The copy did not succeed.
    Broken(MirrorResult),
}

/// How far the answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Its header has not come.
    Awaited,
    /// So many bytes of its body have come.
    Body(usize),
    /// All of it has come.
    Whole,
}

/// Sends a copy and reads its answer. May be dropped at any time: what was sent until then never looks complete.
pub async fn exchange(
    session: &mut HttpSession,
    header: Box<RequestHeader>,
    body: Option<&mut mpsc::UnboundedReceiver<Piece>>,
    began: Instant,
) -> End {
    match converse(session, header, body, began).await {
        Ok(Answer::Whole) => End::Whole,
        Ok(_) => End::Answered,
        Err(result) => End::Broken(result),
    }
}

async fn converse(
    session: &mut HttpSession,
    header: Box<RequestHeader>,
    body: Option<&mut mpsc::UnboundedReceiver<Piece>>,
    began: Instant,
) -> Result<Answer, MirrorResult> {
    let mut deadline = began + TIME_LIMIT;
    within(deadline, write_header(session, header, body.is_none())).await?;
    let mut answer = Answer::Awaited;
    if let Some(pieces) = body {
        deadline = send(session, pieces, &mut answer).await?;
    }
    while answer == Answer::Awaited {
        answer = within(deadline, read(session, answer)).await?;
    }
    while matches!(answer, Answer::Body(read) if read <= ANSWER_LIMIT) {
        // The copy has been received and answered: what becomes of the rest of the answer is of no matter.
        let Ok(next) = within(deadline, read(session, answer)).await else { break };
        answer = next;
    }
    Ok(answer)
}

/// Sends the body; until when the answer is waited for.
///
/// The answer is read meanwhile, or a mirror that answers while it reads could not go on. One that will not read
/// before its answer is taken, and answers more than the sockets hold during a single write, is too slow.
async fn send(
    session: &mut HttpSession,
    pieces: &mut mpsc::UnboundedReceiver<Piece>,
    answer: &mut Answer,
) -> Result<Instant, MirrorResult> {
    loop {
        let next = tokio::select! {
            biased;
            next = read(session, *answer), if *answer != Answer::Whole => {
                *answer = next.map_err(|_| MirrorResult::Failed)?;
                if matches!(*answer, Answer::Body(read) if read > ANSWER_LIMIT) {
                    return Err(MirrorResult::Failed);
                }
                continue;
            }
            next = pieces.recv() => next,
        };
        match next {
            Some(Piece::Part { bytes, came, charge }) => {
                within(came + TIME_LIMIT, session.write_request_body(bytes, false)).await?;
                drop(charge);
            }
            Some(Piece::End { came }) => {
                let deadline = came + TIME_LIMIT;
                within(deadline, session.finish_request_body()).await?;
                return Ok(deadline);
            }
            None => return Err(MirrorResult::Aborted),
        }
    }
}

async fn write_header(session: &mut HttpSession, header: Box<RequestHeader>, last: bool) -> pingora::Result<()> {
    match session {
        HttpSession::H2(h2) => h2.write_request_header(header, last),
        _ => session.write_request_header(header).await,
    }
}

/// Reads on. May be dropped: nothing is lost.
async fn read(session: &mut HttpSession, answer: Answer) -> pingora::Result<Answer> {
    let read = match answer {
        Answer::Whole => return Ok(answer),
        Answer::Awaited => 0,
        Answer::Body(read) => read,
    };
    match session {
        HttpSession::H1(h1) => Ok(match h1.read_response_task().await? {
            HttpTask::Header(header, _) if header.status.is_informational() => Answer::Awaited,
            HttpTask::Header(_, false) => Answer::Body(0),
            HttpTask::Body(part, false) => Answer::Body(read + part.map_or(0, |part| part.len())),
            HttpTask::Failed(error) => return Err(error),
            _ => Answer::Whole,
        }),
        HttpSession::H2(h2) if answer == Answer::Awaited => {
            h2.read_response_header().await?;
            Ok(if h2.response_finished() { Answer::Whole } else { Answer::Body(0) })
        }
        HttpSession::H2(h2) => {
            Ok(h2.read_response_body().await?.map_or(Answer::Whole, |part| Answer::Body(read + part.len())))
        }
        HttpSession::Custom(()) => Ok(Answer::Whole),
    }
}

async fn within<T>(deadline: Instant, act: impl Future<Output = pingora::Result<T>>) -> Result<T, MirrorResult> {
    match timeout_at(deadline, act).await {
        Ok(done) => done.map_err(|_| MirrorResult::Failed),
        Err(_) => Err(MirrorResult::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use pingora::protocols::http::v1::client::HttpSession as Http1;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::proxy::mirror::Content;
    use crate::proxy::mirror::queue::{Mirroring, Pieces, queue};
    use crate::snapshot::UpstreamProtocol;
    use crate::telemetry::MirrorMeter;

    /// Room in each direction.
    const ROOM: usize = 64 * 1024;

    fn header(content: Content) -> Box<RequestHeader> {
        let mut request = RequestHeader::build("POST", b"/", None).unwrap();
        request.insert_header("host", "a.com").unwrap();
        crate::proxy::mirror::header::fit(Box::new(request), UpstreamProtocol::Http1, content).unwrap()
    }

    fn connected() -> (HttpSession, DuplexStream) {
        let (here, there) = duplex(ROOM);
        (HttpSession::H1(Http1::new(Box::new(here))), there)
    }

    fn body(parts: &[Bytes]) -> Pieces {
        let (tee, pieces) = queue(Arc::<MirrorMeter>::default());
        let mut mirroring = Mirroring::default();
        mirroring.begin(Some(tee));
        for part in parts {
            mirroring.pass(Some(part), false);
        }
        mirroring.pass(None, true);
        pieces
    }

    /// What becomes of a copy while a mirror does something else.
    async fn with<F: Future<Output = DuplexStream>>(
        parts: Option<&[Bytes]>,
        mirror: impl FnOnce(DuplexStream) -> F,
    ) -> (End, Duration) {
        let (mut session, there) = connected();
        let mut pieces = parts.map(body);
        let header = header(if parts.is_some() { Content::Body } else { Content::None });
        let began = Instant::now();
        let receiver = pieces.as_mut().map(|pieces| &mut pieces.pieces);
        let (end, _kept) = tokio::join!(
            async {
                let end = exchange(&mut session, header, receiver, began).await;
                drop(session);
                end
            },
            mirror(there)
        );
        (end, began.elapsed())
    }

    async fn read_to(there: &mut DuplexStream, mark: &[u8]) {
        let mut seen = Vec::new();
        while !seen.ends_with(mark) {
            assert_ne!(there.read_buf(&mut seen).await.unwrap(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_answer_leaves_the_connection_good() {
        for parts in [None, Some(&[Bytes::from_static(b"body")][..])] {
            let (end, _) = with(parts, async |mut there| {
                read_to(&mut there, if parts.is_some() { b"0\r\n\r\n" } else { b"\r\n\r\n" }).await;
                there.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
                there.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                there
            })
            .await;
            assert_eq!(end, End::Whole);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_no_longer_than_the_limit() {
        let (end, took) = with(None, async |there| there).await;
        assert_eq!(end, End::Broken(MirrorResult::Timeout));
        assert!(took >= TIME_LIMIT && took < TIME_LIMIT + Duration::from_secs(1), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_not_taken_is_waited_for_no_longer_than_the_limit() {
        let parts = vec![Bytes::from(vec![7; ROOM]); 3];
        let (end, took) = with(Some(&parts), async |mut there| {
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = there.read(&mut [0; 10]).await;
            }
            there
        })
        .await;
        assert_eq!(end, End::Broken(MirrorResult::Timeout));
        assert!(took >= TIME_LIMIT, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_may_last_longer_than_the_limit() {
        let (mut session, mut there) = connected();
        let (tee, mut pieces) = queue(Arc::<MirrorMeter>::default());
        let client = async {
            let mut mirroring = Mirroring::default();
            mirroring.begin(Some(tee));
            for _ in 0..5 {
                tokio::time::sleep(TIME_LIMIT * 9 / 10).await;
                mirroring.pass(Some(&Bytes::from_static(b"part")), false);
            }
            mirroring.pass(None, true);
        };
        let mirror = async {
            read_to(&mut there, b"0\r\n\r\n").await;
            there.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        };
        let header = header(Content::Body);
        let copy = exchange(&mut session, header, Some(&mut pieces.pieces), Instant::now());
        let (end, (), ()) = tokio::join!(copy, client, mirror);
        assert_eq!(end, End::Whole);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_end_is_read_within_bounds() {
        let (end, took) = with(None, async |mut there| {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            there.write_all(head).await.unwrap();
            let mut written = 0;
            while there.write_all(&[7; 1024]).await.is_ok() {
                written += 1024;
            }
            assert!(written <= ANSWER_LIMIT + 4 * ROOM, "{written}");
            there
        })
        .await;
        assert_eq!(end, End::Answered);
        assert!(took < TIME_LIMIT, "{took:?}");

        let (end, took) = with(None, async |mut there| {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            there.write_all(head).await.unwrap();
            while there.write_all(b"drip").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            there
        })
        .await;
        assert_eq!(end, End::Answered);
        assert!(took < TIME_LIMIT + Duration::from_secs(2), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mirror_that_breaks_off_has_failed() {
        for words in ["", "HTTP/1.1 200", "220 smtp ready\r\n\r\n"] {
            let (end, _) = with(None, async |mut there| {
                read_to(&mut there, b"\r\n\r\n").await;
                there.write_all(words.as_bytes()).await.unwrap();
                there.shutdown().await.unwrap();
                there
            })
            .await;
            assert_eq!(end, End::Broken(MirrorResult::Failed), "{words}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_cut_off_never_ends() {
        let (mut session, mut there) = connected();
        let (tee, mut pieces) = queue(Arc::<MirrorMeter>::default());
        let mut mirroring = Mirroring::default();
        mirroring.begin(Some(tee));
        mirroring.pass(Some(&Bytes::from_static(b"part")), false);
        drop(mirroring);
        let end = exchange(&mut session, header(Content::Body), Some(&mut pieces.pieces), Instant::now()).await;
        assert_eq!(end, End::Broken(MirrorResult::Aborted));
        drop(session);
        let mut seen = String::new();
        there.read_to_string(&mut seen).await.unwrap();
        assert!(seen.ends_with("\r\n\r\n4\r\npart\r\n"), "{seen}");
    }
}
