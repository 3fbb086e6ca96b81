//! server: speaks HTTP. One thread holds all connections, a few others answer, and no client can stop either.

use super::routes::{Ask, Reply, answer, ask, is_own};
use super::site::Site;
use crate::base::Digest;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

/// Answers that are made at a time; others wait their turn.
const AT_ONCE: usize = 4;
/// Open connections. A new one ends the oldest, so clients that only hold theirs keep nobody out.
const CONNECTIONS: usize = 256;
/// For how long a client may take to send its next request.
const SENDING: Duration = Duration::from_secs(20);
/// After this time a connection takes no further request.
const LIFE: Duration = Duration::from_secs(120);
/// For how long a client may then take to read its last answer.
const READING: Duration = Duration::from_secs(600);
/// How long to wait when the system gives no connection.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;

/// Scripts, styles and images come from this server alone; no other site may show or read anything of it.
const ALWAYS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "private, no-cache"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// A server that has its address.
pub struct Server {
    listener: std::net::TcpListener,
    site: Arc<Site>,
    stop: Stop,
}

/// Ends a server, from any thread.
#[derive(Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Asks it to end.
    pub fn request(&self) {
        self.0.notify_one();
    }
}

/// What all connections share.
struct Hall {
    site: Arc<Site>,
    own: IpAddr,
    turns: Arc<Semaphore>,
    /// Whether a thread reads what the store has now.
    reads: Arc<AtomicBool>,
}

/// Held while a thread reads what the store has.
struct Reading(Arc<AtomicBool>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Server {
    /// Takes an address; port 0 takes any free one.
    ///
    /// # Errors
    /// Where the system refuses it, as when another program has it.
    pub fn bind(address: SocketAddr, site: Site) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, site: Arc::new(site), stop: Stop::default() })
    }

    /// The address that it has.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What ends it.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves until it is asked to end. It then waits for no answer.
    ///
    /// # Errors
    /// Where the system refuses threads or sockets.
    pub fn run(self) -> io::Result<()> {
        let hall = Hall {
            own: self.address()?.ip(),
            site: self.site,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            reads: Arc::default(),
        };
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(AT_ONCE + 2).build()?;
        let site = Arc::clone(&hall.site);
        // Its failure comes again as the answer to a request.
        runtime.spawn_blocking(move || drop(site.warm()));
        let served = runtime.block_on(async {
            tokio::spawn(accept(TcpListener::from_std(self.listener)?, Arc::new(hall)));
            self.stop.0.notified().await;
            Ok(())
        });
        runtime.shutdown_background();
        served
    }
}

async fn accept(listener: TcpListener, hall: Arc<Hall>) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = listener.accept().await;
        open.retain(|connection| !connection.is_finished());
        if accepted.is_err() || open.len() >= CONNECTIONS {
            open.pop_front().into_iter().for_each(|oldest| oldest.abort());
        }
        match accepted {
            Ok((stream, _)) => open.push_back(tokio::spawn(serve(stream, Arc::clone(&hall))).abort_handle()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, hall: Arc<Hall>) {
    let service = service_fn(move |request| reply(request, Arc::clone(&hall)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(SENDING).max_buf_size(HEAD);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // A client that hangs up or sends no HTTP ends its own connection only.
    if tokio::time::timeout(LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(READING, connection).await;
    }
}

async fn reply(request: Request<Incoming>, hall: Arc<Hall>) -> Result<Response<Full<Bytes>>, Infallible> {
    let reply = match understand(&request, hall.own) {
        Ok(ask) => made(ask, &hall).await,
        Err((status, why)) => Reply::refusal(status, why),
    };
    Ok(response(reply, request.headers().get(header::IF_NONE_MATCH)))
}

/// What a request asks for, or why it is refused.
fn understand(request: &Request<Incoming>, own: IpAddr) -> Result<Ask, (StatusCode, &'static str)> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err((StatusCode::BAD_REQUEST, "a request names one host"));
    };
    let named = request.uri().authority().map_or(Some(""), |named| Some(named.as_str()));
    let is_here =
        host.to_str().is_ok_and(|host| is_own(host, own)) && named.is_none_or(|n| n.is_empty() || is_own(n, own));
    if !is_here {
        return Err((
            StatusCode::MISDIRECTED_REQUEST,
            "this server has another name; use the address that dcpipe serve printed",
        ));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "this server changes nothing: it answers GET and HEAD"));
    }
    ask(request.uri().path(), request.uri().query()).ok_or((StatusCode::NOT_FOUND, "there is nothing at this address"))
}

async fn made(ask: Ask, hall: &Hall) -> Reply {
    let broken = || Reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, "BUG: the answer failed; please report it");
    let (Ok(turn), site) = (Arc::clone(&hall.turns).acquire_owned().await, Arc::clone(&hall.site)) else {
        return broken();
    };
    let (reads, reader) = (Arc::clone(&hall.reads), Arc::clone(&hall.site));
    if ask == Ask::State && !reads.swap(true, Ordering::SeqCst) {
        let reading = Reading(reads);
        // The next look at the state finds what this one reads.
        tokio::task::spawn_blocking(move || {
            let _reading = reading;
            reader.keep_up();
        });
    }
    let answer = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        answer(&site, ask)
    });
    answer.await.unwrap_or_else(|_| broken())
}

fn response(reply: Reply, known: Option<&HeaderValue>) -> Response<Full<Bytes>> {
    let tag = format!("\"{}\"", Digest::of(&reply.body).short());
    let is_known = reply.status == StatusCode::OK && known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let (status, body) = if is_known { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (reply.status, reply.body) };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.extend(ALWAYS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.kind));
    let mut insert = |name, value: String| HeaderValue::try_from(value).map(|value| headers.insert(name, value));
    let _ = insert(header::ETAG, tag);
    if let Some(name) = reply.name {
        let _ = insert(header::CONTENT_DISPOSITION, format!("inline; filename*=UTF-8''{}", encoded(&name)));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let _ = insert(header::ALLOW, "GET, HEAD".to_owned());
    }
    response
}

/// A name as a header may hold it.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
