//! The task of one copy: a connection, the exchange on it, and the count of how it ended, which no way out avoids.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::{HttpPeer, Peer};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Mirrors;
use super::exchange::{End, TIME_LIMIT, exchange};
use super::queue::{Ending, Pieces};
use crate::proxy::serving::View;
use crate::proxy::upstream::{self, Choice, UpstreamLoad};
use crate::snapshot::{UpstreamId, UpstreamIndex};
use crate::telemetry::{MirrorLabels, MirrorMeter, MirrorResult};

/// A copy that is about to be sent.
pub struct Copy {
    /// Whose task it is.
    pub mirrors: Arc<Mirrors>,
    /// Its header, and who gets it.
    pub prepared: Prepared,
    /// Its body, if there is one.
    pub body: Option<Pieces>,
    /// Its count.
    pub tally: Tally,
}

/// The header of a copy, and who gets it.
pub struct Prepared {
    /// Who.
    pub upstream: Arc<UpstreamLoad>,
    /// Which endpoint.
    pub choice: Choice,
    /// The header, as it is sent.
    pub header: Box<RequestHeader>,
}

/// Counts a copy: under way until dropped, and then by its result.
pub struct Tally {
    meter: Arc<MirrorMeter>,
    view: Arc<View>,
    upstream: UpstreamIndex,
    result: MirrorResult,
}

impl Copy {
    /// Sends the copy, until it is done or cut.
    pub async fn run(self) {
        let Copy { mirrors, prepared, body, mut tally } = self;
        let Prepared { upstream, choice, header } = prepared;
        let began = Instant::now();
        let (ending, mut pieces) = body.map(|body| (body.ending, body.pieces)).unzip();
        let cut = cut(&mirrors, ending);
        tokio::pin!(cut);

        let peer = upstream::peer::peer(choice.address, &upstream, &mirrors.settings);
        let connected = tokio::select! {
            biased;
            result = &mut cut => return tally.end_with(result),
            connected = timeout_at(began + TIME_LIMIT, mirrors.connector.get_http_session(&*peer)) => connected,
        };
        let (mut session, reused) = match connected {
            Ok(Ok(connected)) => connected,
            failed => {
                match failed {
                    Ok(Err(error)) => choice.not_connected(&error),
                    _ => choice.timed_out(),
                }
                choice.failed();
                return tally.end_with(MirrorResult::ConnectFailed);
            }
        };
        choice.connected(reused, session.digest());
        let end = tokio::select! {
            biased;
            result = &mut cut => End::Broken(result),
            end = exchange(&mut session, header, pieces.as_mut(), began) => end,
        };
        match end {
            End::Whole | End::Answered => choice.answered(),
            // Of a connection kept from before, the end says no more than that the endpoint closed it meanwhile.
            End::Broken(MirrorResult::Failed) if !reused => choice.failed(),
            // Neither is a slow mirror a bad endpoint: the requests that it serves itself may well wait for it.
            End::Broken(_) => {}
        }
        drop(choice);
        tally.result = match end {
            End::Whole | End::Answered => MirrorResult::Sent,
            End::Broken(result) => result,
        };
        give_back(&mirrors, session, &peer, end).await;
    }
}

impl Tally {
    /// A copy begins.
    pub fn begin(meter: Arc<MirrorMeter>, view: Arc<View>, upstream: UpstreamIndex) -> Self {
        meter.active.fetch_add(1, Relaxed);
        // What drops the task without a word ends the copy so.
        Tally { meter, view, upstream, result: MirrorResult::Aborted }
    }

    /// It ends before it was sent.
    pub fn end<T>(mut self, result: MirrorResult) -> Option<T> {
        self.result = result;
        None
    }

    fn end_with(mut self, result: MirrorResult) {
        self.result = result;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.meter.active.fetch_sub(1, Relaxed);
        if let Some(id) = self.view.upstream_id(self.upstream) {
            self.meter.count(labels(id), self.result);
        }
    }
}

/// Whose copies, for the count.
pub fn labels(id: &UpstreamId) -> MirrorLabels<'_> {
    MirrorLabels { namespace: &id.namespace, service: &id.service, port: id.port }
}

/// Ends when the copy is to be cut, and says why; never if it is not.
fn cut(mirrors: &Mirrors, ending: Option<oneshot::Receiver<Ending>>) -> impl Future<Output = MirrorResult> {
    let body = async {
        match ending {
            None => pending().await,
            Some(ending) => match ending.await {
                Ok(Ending::Whole) => pending().await,
                Ok(Ending::Cut(why)) => why,
                Err(_) => MirrorResult::Aborted,
            },
        }
    };
    async {
        tokio::select! {
            biased;
            why = body => why,
            () = mirrors.stop.cancelled() => MirrorResult::Aborted,
        }
    }
}

/// A connection of HTTP/1 is kept if nothing is left on it, else it ends here. A stream of HTTP/2 ends, reset if it
/// was not whole, and its connection goes on.
async fn give_back(mirrors: &Mirrors, session: HttpSession, peer: &HttpPeer, end: End) {
    match &session {
        HttpSession::H1(_) if end != End::Whole => return,
        HttpSession::H2(h2) if end == End::Broken(MirrorResult::Timeout) => h2.conn.mark_shutdown(), // may be dead
        _ => {}
    }
    mirrors.connector.release_http_session(session, peer, peer.idle_timeout()).await;
}
