//! A web server that does what a test tells it, right or wrong, and keeps account
//! of what it was asked for.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate for 127.0.0.1 (valid until 2126), its key, which is no secret,
/// and the authority to trust for it. Made with openssl x509.
const CERTIFICATE: &[u8] = include_bytes!("tls/server.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");
pub(super) const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fetch/tls/ca.pem");

/// The entity tag of every whole answer.
pub(super) const TAG: &str = "\"one\"";

/// One request as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The target as it was written: a path, or for a proxy a URL.
    pub(super) target: String,
    /// Header fields by lower-case name.
    pub(super) headers: BTreeMap<String, String>,
}

impl Request {
    /// A header's value, or nothing.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The first byte that was asked for.
    pub(super) fn from(&self) -> usize {
        let range = self.header("range").strip_prefix("bytes=");
        range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap())
    }
}

/// What the server does with a request.
#[derive(Clone)]
pub(super) enum Reply {
    /// The file, or the part that was asked for, as a good server does.
    Good(Vec<u8>),
    /// The whole file, whatever was asked for.
    Whole(Vec<u8>),
    /// A status with header lines and no body.
    Status(u16, Vec<String>),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, then silence for as long as the client stays.
    Stall(Vec<u8>),
    /// These bytes, then zeros one by one for as long as the client stays.
    Trickle(Vec<u8>),
    /// A reset of the connection instead of an answer.
    Reset,
    /// The reply, once the gate is open.
    After(Arc<Gate>, Box<Reply>),
}

impl Reply {
    /// The head of a whole answer of `length` bytes, and the bytes of `body`.
    pub(super) fn promising(length: usize, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nETag: {TAG}\r\nConnection: close\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    /// An answer of which only the first half comes.
    pub(super) fn cut(body: &[u8]) -> Reply {
        Reply::Raw(Self::promising(body.len(), &body[..body.len() / 2]))
    }

    /// An answer to a range request, which says that it begins at `start`.
    pub(super) fn part(start: usize, total: usize, body: &[u8]) -> Reply {
        let (length, last) = (body.len(), start + body.len() - 1);
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n\
             Content-Range: bytes {start}-{last}/{total}\r\nConnection: close\r\n\r\n"
        );
        Reply::Raw([head.as_bytes(), body].concat())
    }

    pub(super) fn status(status: u16) -> Reply {
        Reply::Status(status, Vec::new())
    }

    pub(super) fn redirect(to: &str) -> Reply {
        Reply::Status(302, vec![format!("Location: {to}")])
    }
}

/// Closed until it is opened, once and for all.
#[derive(Default)]
pub(super) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(super) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }
}

/// The server. It runs until the test program ends.
pub(super) struct Server {
    scheme: &'static str,
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<usize>>,
}

type Script = dyn Fn(usize, &Request) -> Reply + Send + Sync;

impl Server {
    /// A server whose answer to the `n`th request (from 0) is `script(n, request)`.
    pub(super) fn new(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start("http", None, Arc::new(script))
    }

    /// The same over TLS, with a certificate that only [`AUTHORITY`] vouches for.
    pub(super) fn tls(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()],
                PrivateKeyDer::from_pem_slice(KEY).unwrap(),
            )
            .unwrap();
        Self::start("https", Some(Arc::new(config)), Arc::new(script))
    }

    /// A server that gives the replies in turn, and 418 to what comes after.
    pub(super) fn replies(replies: Vec<Reply>) -> Self {
        Self::new(move |n, _| replies.get(n).cloned().unwrap_or(Reply::status(418)))
    }

    fn start(scheme: &'static str, tls: Option<Arc<rustls::ServerConfig>>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            scheme,
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (requests, connections) = (server.requests.clone(), server.connections.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                *connections.lock().unwrap() += 1;
                let (tls, script, requests) = (tls.clone(), script.clone(), requests.clone());
                // A client that goes away in the middle is part of the game.
                thread::spawn(move || serve(stream?, tls, &*script, &requests));
            }
        });
        server
    }

    /// The URL of a path on this server.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The requests so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The targets of the requests so far.
    pub(super) fn targets(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .map(|request| request.target)
            .collect()
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    script: &Script,
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let tcp = stream.try_clone()?;
    let Some(config) = tls else {
        return answer(&mut BufReader::new(stream), &tcp, script, requests);
    };
    let connection = rustls::ServerConnection::new(config).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, stream);
    let done = answer(&mut BufReader::new(&mut stream), &tcp, script, requests);
    stream.conn.send_close_notify();
    stream.flush()?;
    done
}

fn answer<S: Read + Write>(
    stream: &mut BufReader<S>,
    tcp: &TcpStream,
    script: &Script,
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let request = read_request(stream)?;
    let n = {
        let mut requests = requests.lock().unwrap();
        requests.push(request.clone());
        requests.len() - 1
    };
    reply(&script(n, &request), &request, stream.get_mut(), tcp)
}

fn read_request<S: Read>(stream: &mut BufReader<S>) -> std::io::Result<Request> {
    let mut lines = stream.lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Request { target, headers })
}

fn reply<S: Read + Write>(
    reply_with: &Reply,
    request: &Request,
    stream: &mut S,
    tcp: &TcpStream,
) -> std::io::Result<()> {
    match reply_with {
        Reply::Good(body) => match request.from() {
            0 => stream.write_all(&Reply::promising(body.len(), body)),
            from => {
                let part = Reply::part(from, body.len(), &body[from..]);
                reply(&part, request, stream, tcp)
            }
        },
        Reply::Whole(body) => stream.write_all(&Reply::promising(body.len(), body)),
        Reply::Status(status, lines) => {
            let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let head =
                format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n{lines}\r\n");
            stream.write_all(head.as_bytes())
        }
        Reply::Raw(bytes) => stream.write_all(bytes),
        Reply::Stall(bytes) => {
            stream.write_all(bytes)?;
            stream.flush()?;
            // Ends when the client closes the connection.
            stream.read(&mut [0]).map(drop)
        }
        Reply::Trickle(bytes) => {
            stream.write_all(bytes)?;
            loop {
                stream.write_all(&[0])?;
                thread::yield_now();
            }
        }
        Reply::Reset => {
            // Closed without lingering, which has the kernel send a reset.
            socket2::SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO))
        }
        Reply::After(gate, then) => {
            gate.pass();
            reply(then, request, stream, tcp)
        }
    }
}
