//! Files and indexes from web servers, which are enemies.

use std::collections::BTreeMap;
use std::error::Error;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::blocking::{Client, ClientBuilder, RequestBuilder, Response};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE,
    LAST_MODIFIED, RANGE, RETRY_AFTER, TRANSFER_ENCODING,
};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{StatusCode, Version};

use super::FetchError;
use super::cache::{Expected, Part};
use super::network::Network;
use super::route::{Access, Route};
use crate::digest::Sha256;
use crate::progress::{Progress, Task};
use crate::url::{WebUrl, masked};

/// How the program calls itself.
const USER_AGENT: &str = concat!("tcforge/", env!("CARGO_PKG_VERSION"));

/// A client for each way to reach servers, made when it is first needed.
pub(super) struct Http {
    network: Network,
    clients: Mutex<BTreeMap<Route, Client>>,
}

/// A file to download.
pub(super) struct Job<'a> {
    pub(super) url: &'a WebUrl,
    pub(super) access: &'a Access,
    /// What the notes call it.
    pub(super) name: &'a str,
    pub(super) expected: &'a Expected,
    pub(super) attempts: u32,
    pub(super) progress: &'a dyn Progress,
    pub(super) task: &'a dyn Task,
}

/// What went wrong in one attempt, and whether it can pass.
struct Failure {
    error: FetchError,
    again: Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    BackOff,
    After(Duration),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self {
            error,
            again: Again::Never,
        }
    }
}

/// An error that may pass.
fn passing(error: FetchError) -> Failure {
    Failure {
        error,
        again: Again::BackOff,
    }
}

/// Why a redirect is not followed.
#[derive(Debug, thiserror::Error)]
enum RefusedRedirect {
    #[error("too many redirects")]
    TooMany,
    #[error("redirected to `{0}`")]
    Downgrade(WebUrl),
}

impl Http {
    pub(super) fn new(network: Network) -> Self {
        Self {
            network,
            clients: Mutex::default(),
        }
    }

    pub(super) fn network(&self) -> &Network {
        &self.network
    }

    /// Downloads a file into `part`, from where it ends on. True if bytes from
    /// an earlier attempt are in it: these may be of another file.
    pub(super) fn download(&self, job: &Job, part: &mut Part) -> Result<bool, FetchError> {
        let mut resumed = false;
        self.retrying(job.name, job.attempts, job.progress, &mut || {
            resumed = self.download_once(job, part)?;
            Ok(())
        })?;
        Ok(resumed)
    }

    /// Reads a document of at most `limit` bytes whole.
    pub(super) fn read(
        &self,
        url: &WebUrl,
        access: &Access,
        accept: &'static str,
        limit: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        let attempts = self.network.attempts.get();
        self.retrying(&url.to_string(), attempts, progress, &mut || {
            body.clear();
            let mut response = self.send(url, self.request(url, access)?.header(ACCEPT, accept))?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(url, &response));
            }
            self.receive(url, limit, 0, &mut response, &mut |bytes| {
                body.extend_from_slice(bytes);
                Ok(())
            })
        })?;
        Ok(body)
    }

    fn request(&self, url: &WebUrl, access: &Access) -> Result<RequestBuilder, FetchError> {
        let request = self.client(url, &access.route)?.get(url.with_secrets().clone());
        Ok(match &access.authorization {
            Some(login) => request.header(AUTHORIZATION, login),
            None => request,
        })
    }

    fn client(&self, url: &WebUrl, route: &Route) -> Result<Client, FetchError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(route) {
            return Ok(client.clone());
        }
        // Fails if a provider is there already: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let limit = self.network.redirects;
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(self.network.connect_timeout)
            // For the blocking client: of each wait, not of the whole.
            .timeout(self.network.read_timeout)
            .redirect(Policy::custom(move |attempt| redirect(attempt, limit)))
            .referer(false);
        let client = route
            .apply(builder)
            .and_then(ClientBuilder::build)
            .map_err(|error| FetchError::Request {
                url: url.to_string(),
                cause: causes(&error.without_url()),
            })?;
        clients.insert(route.clone(), client.clone());
        Ok(client)
    }

    /// Calls `attempt` until it succeeds, fails for good, or has failed too often.
    fn retrying(
        &self,
        name: &str,
        attempts: u32,
        progress: &dyn Progress,
        attempt: &mut dyn FnMut() -> Result<(), Failure>,
    ) -> Result<(), FetchError> {
        let mut done = 1;
        loop {
            let Err(Failure { error, again }) = attempt() else {
                return Ok(());
            };
            let wait = match again {
                Again::Never => return Err(error),
                _ if done >= attempts => return Err(error),
                Again::BackOff => back_off(&self.network, done, random()),
                Again::After(wait) => wait,
            };
            done += 1;
            let seconds = wait.as_secs_f64();
            progress.note(&format!(
                "{name}: {error}; attempt {done} of {attempts} in {seconds:.1} s"
            ));
            std::thread::sleep(wait);
        }
    }

    fn download_once(&self, job: &Job, part: &mut Part) -> Result<bool, Failure> {
        let Expected { size, limit, .. } = *job.expected;
        // Without a sum nothing would tell that two answers make up the bytes.
        if job.expected.sum.is_none() || part.length() > size.unwrap_or(limit) {
            part.begin(None)?;
        }
        let from = part.length();
        if from > 0 && size == Some(from) {
            return Ok(true);
        }
        let mut request = self.request(job.url, job.access)?;
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
            if let Some(validator) = part.mark().and_then(|mark| validator_in(&mark, job.url)) {
                request = request.header(IF_RANGE, validator);
            }
        }
        let mut response = self.send(job.url, request)?;
        self.accept(job, part, &response)?;
        let resumed = part.length() > 0;
        let start = part.length();
        let (least, most) = extent(job, start, &response)?.into_inner();
        job.task.set_position(start);
        self.receive(job.url, most, start, &mut response, &mut |bytes| {
            part.write(bytes)?;
            job.task.set_position(part.length());
            Ok(())
        })?;
        match part.length() {
            got if got < least => Err(passing(FetchError::Cut {
                url: job.url.to_string(),
                got,
                cause: format!("{least} bytes were expected"),
            })),
            _ => Ok(resumed),
        }
    }

    /// Looks at the answer, and makes the part ready for what follows it.
    fn accept(&self, job: &Job, part: &mut Part, response: &Response) -> Result<(), Failure> {
        let from = part.length();
        match response.status() {
            StatusCode::OK => {
                part.begin(mark(job.url, response.headers()).as_deref())?;
                Ok(())
            }
            StatusCode::PARTIAL_CONTENT if from > 0 && range_start(response.headers()) == Some(from) => {
                Ok(())
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                part.begin(None)?;
                Err(passing(FetchError::WrongRange {
                    url: job.url.to_string(),
                    from,
                }))
            }
            _ => Err(self.refusal(job.url, response)),
        }
    }

    fn send(&self, url: &WebUrl, request: RequestBuilder) -> Result<Response, Failure> {
        let sent = request.header(ACCEPT_ENCODING, "identity").send();
        sent.map_err(|error| self.unanswered(url, error))
    }

    /// Hands the body on until it ends. `start`: bytes that were there before.
    fn receive(
        &self,
        url: &WebUrl,
        limit: u64,
        start: u64,
        response: &mut Response,
        take: &mut dyn FnMut(&[u8]) -> Result<(), FetchError>,
    ) -> Result<(), Failure> {
        let mut pace = Pace::new(&self.network);
        let mut got = start;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = match response.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) => return Err(cut(url, got, &error)),
            };
            got += n as u64;
            if got > limit {
                return Err(FetchError::TooLarge {
                    from: url.to_string(),
                    limit,
                }
                .into());
            }
            take(&buffer[..n])?;
            if !pace.keeps_up(n) {
                return Err(passing(FetchError::Stalled {
                    url: url.to_string(),
                    got,
                }));
            }
        }
    }

    /// The failure behind an answer that is not the file.
    fn refusal(&self, url: &WebUrl, response: &Response) -> Failure {
        let status = response.status();
        let error = FetchError::Status {
            url: url.to_string(),
            status: status.as_u16(),
        };
        let again = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
            other => other.is_server_error(),
        };
        match retry_after(response.headers()) {
            _ if !again => error.into(),
            Some(wait) if wait > self.network.longest_wait => FetchError::Busy {
                url: url.to_string(),
                status: status.as_u16(),
                seconds: wait.as_secs(),
            }
            .into(),
            Some(wait) => Failure {
                error,
                again: Again::After(wait),
            },
            None => passing(error),
        }
    }

    /// The failure behind a request that got no answer.
    fn unanswered(&self, url: &WebUrl, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let (shown, cause) = (url.to_string(), causes(&error));
        if let Some(refused) = find_cause::<RefusedRedirect>(&error) {
            return match refused {
                RefusedRedirect::TooMany => FetchError::RedirectLoop {
                    url: shown,
                    limit: self.network.redirects,
                },
                RefusedRedirect::Downgrade(to) => FetchError::Downgrade {
                    url: shown,
                    to: to.to_string(),
                },
            }
            .into();
        }
        if let Some(rustls::Error::InvalidCertificate(_)) = find_cause(&error) {
            return FetchError::Certificate { url: shown, cause }.into();
        }
        if error.is_connect() {
            return passing(FetchError::Connect { url: shown, cause });
        }
        if error.is_timeout() {
            return passing(FetchError::Stalled { url: shown, got: 0 });
        }
        if error.is_request() {
            return passing(FetchError::Cut {
                url: shown,
                got: 0,
                cause,
            });
        }
        FetchError::Request { url: shown, cause }.into()
    }
}

/// How many bytes the file may have by the answer, with the `start` ones that were there
/// before. One of another size than the lock's is read nevertheless, because who looks
/// into it wants its sum; one that is too large is refused.
fn extent(job: &Job, start: u64, response: &Response) -> Result<RangeInclusive<u64>, Failure> {
    let (from, limit) = (|| job.url.to_string(), job.expected.limit);
    let ends_by_itself =
        response.version() == Version::HTTP_2 || response.headers().contains_key(TRANSFER_ENCODING);
    match response.content_length() {
        Some(length) => {
            let found = start.saturating_add(length);
            if found > limit {
                return Err(FetchError::TooLarge { from: from(), limit }.into());
            }
            job.task.set_total(found);
            Ok(found..=found)
        }
        None if ends_by_itself => Ok(0..=limit),
        None if job.expected.sum.is_none() => Err(FetchError::NoLength { url: from() }.into()),
        // It ends with the connection: what is too short was cut.
        None => Ok(job.expected.size.unwrap_or(0)..=limit),
    }
}

/// Follows a redirect unless there were too many, or it leaves https.
fn redirect(attempt: Attempt, limit: usize) -> Action {
    let left_https = attempt.url().scheme() != "https"
        && attempt
            .previous()
            .iter()
            .any(|previous| previous.scheme() == "https");
    if left_https {
        let to = WebUrl::new(attempt.url().clone());
        attempt.error(RefusedRedirect::Downgrade(to))
    } else if attempt.previous().len() > limit {
        attempt.error(RefusedRedirect::TooMany)
    } else {
        attempt.follow()
    }
}

/// The failure behind a body that did not come to its end.
fn cut(url: &WebUrl, got: u64, error: &io::Error) -> Failure {
    let url = url.to_string();
    let timeout = find_cause::<reqwest::Error>(error).is_some_and(reqwest::Error::is_timeout);
    passing(match timeout {
        true => FetchError::Stalled { url, got },
        false => FetchError::Cut {
            url,
            got,
            cause: causes(error),
        },
    })
}

/// Watches that a server does not trickle.
struct Pace {
    window: Duration,
    least: u64,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(network: &Network) -> Self {
        Self {
            window: network.read_timeout,
            least: (network.slowest as f64 * network.read_timeout.as_secs_f64()) as u64,
            since: Instant::now(),
            bytes: 0,
        }
    }

    fn keeps_up(&mut self, n: usize) -> bool {
        self.bytes += n as u64;
        if self.since.elapsed() < self.window {
            return true;
        }
        let enough = self.bytes >= self.least;
        (self.since, self.bytes) = (Instant::now(), 0);
        enough
    }
}

/// The wait after the `done`th attempt; `random` is from 0 to 1.
fn back_off(network: &Network, done: u32, random: f64) -> Duration {
    let doubled = network
        .first_wait
        .saturating_mul(2_u32.saturating_pow(done.saturating_sub(1)));
    doubled.min(network.longest_wait).mul_f64(1.0 - random / 2.0)
}

/// A number from 0 to 1, from the keys that the standard library draws for its maps.
fn random() -> f64 {
    let drawn = std::hash::RandomState::new().build_hasher().finish();
    drawn as f64 / u64::MAX as f64
}

/// What a part remembers of its server, to have the rest of the same file only:
/// which URL, and the file's entity tag or date (RFC 9110 §13.1.5).
fn mark(url: &WebUrl, headers: &HeaderMap) -> Option<String> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let strong = text(ETAG).filter(|tag| !tag.starts_with("W/"));
    let validator = strong.or_else(|| text(LAST_MODIFIED))?;
    Some(format!("{}\n{validator}", Sha256::of(url.public().as_bytes())))
}

/// The validator in a mark, if that is of this URL. Bytes from another URL are
/// continued without one: the sum over the whole decides.
fn validator_in(mark: &str, url: &WebUrl) -> Option<String> {
    let (of, validator) = mark.split_once('\n')?;
    let same = of == Sha256::of(url.public().as_bytes()).to_string();
    let printable = !validator.is_empty() && validator.bytes().all(|b| (b' '..=b'~').contains(&b));
    (same && printable).then(|| validator.to_owned())
}

/// The first byte of `Content-Range: bytes FIRST-LAST/TOTAL`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (first, _) = range.trim().strip_prefix("bytes ")?.split_once('-')?;
    first.trim().parse().ok()
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    let wait = date.duration_since(Timestamp::now());
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

/// The cause of a type in an error's chain. [`io::Error`] does not name what it
/// wraps as its source, so it is opened.
fn find_cause<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// An error's whole chain in one line, without the secrets of URLs in it.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = without_url(error);
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = without_url(cause);
        // Many repeat their cause in their own text.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    masked(&text)
}

/// An error's own text. That of a request or a proxy may end with its URL, whatever was
/// meant to be one.
fn without_url(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let url = error.downcast_ref().and_then(reqwest::Error::url);
    url.map_or_else(
        || text.clone(),
        |url| text.replace(&format!(" for url ({url})"), ""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Project;

    #[test]
    fn waits_double_up_to_the_longest() {
        let network = Network::read(&Project::built_in()).unwrap();
        let seconds = |done, random| back_off(&network, done, random).as_secs_f64();
        assert_eq!([1, 2, 3].map(|done| seconds(done, 0.0)), [1.0, 2.0, 4.0]);
        assert_eq!([1, 2, 3].map(|done| seconds(done, 1.0)), [0.5, 1.0, 2.0]);
        assert_eq!([7, 60, u32::MAX].map(|done| seconds(done, 0.0)), [60.0; 3]);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (text, wait) in [
            ("120", Some(Duration::from_secs(120))),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(Duration::ZERO)),
            ("-1", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers), wait, "{text}");
        }
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "Fri, 21 Oct 2135 07:28:00 GMT".parse().unwrap())]);
        assert!(retry_after(&headers) > Some(Duration::from_secs(3600)));
    }

    #[test]
    fn ranges_are_read() {
        for (text, start) in [
            ("bytes 5-9/10", Some(5)),
            ("bytes 5-9/*", Some(5)),
            ("bytes */10", None),
            ("bytes -5/10", None),
            ("5-9/10", None),
            ("bytes 99999999999999999999-1/2", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_RANGE, text.parse().unwrap())]);
            assert_eq!(range_start(&headers), start, "{text}");
        }
    }

    #[test]
    fn a_mark_is_of_one_url_and_one_strong_validator() {
        let url: WebUrl = "https://example.org/a".parse().unwrap();
        let other: WebUrl = "https://example.org/b".parse().unwrap();
        let headers = |pairs: &[(HeaderName, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (name.clone(), value.parse().unwrap()));
            HeaderMap::from_iter(pairs)
        };
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        for (pairs, validator) in [
            (vec![], None),
            (vec![(ETAG, "\"a\"")], Some("\"a\"")),
            (vec![(ETAG, "W/\"a\"")], None),
            (vec![(ETAG, "W/\"a\""), (LAST_MODIFIED, date)], Some(date)),
            (vec![(ETAG, "\"a\""), (LAST_MODIFIED, date)], Some("\"a\"")),
        ] {
            let mark = mark(&url, &headers(&pairs));
            let found = mark.as_ref().and_then(|mark| validator_in(mark, &url));
            assert_eq!(found.as_deref(), validator);
            assert_eq!(mark.and_then(|mark| validator_in(&mark, &other)), None);
        }
    }
}
