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
