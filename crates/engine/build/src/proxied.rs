//! Programs that reach others through a proxy of the builder's alone, where the build asks for that (BuildKit's
//! proxy networks).
//!
//! ```text
//! a step ── 127.0.0.1 of its own ─▶ egress ─┬─ judge     the build's rules, and its client: as for any source
//!                                           └─ connect   from the step's network, or, with `network.host`, from here
//! ```
//!
//! The step's supervisor makes the sockets (`containers`, `Step::proxied`); no thread of ours enters a namespace.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use buildgraph::{Exec, Http, Network, Op, Source, Vertex};
use containers::{RunningStep, STEP_PROXY, Step, StepIo};
use egress::{Asked, Authority, Capture, Captured, Outside, Proxy, Ruled};
use oci::Digest;
use oci::image::Platform;
use rustix::process::Signal;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Error;
use crate::build::Shared;
use crate::error::At as _;

/// Whom programs ask by themselves, and not the proxy: BuildKit's list.
const NOT_PROXIED: &str = "127.0.0.1,localhost,::1";
/// How long one address of a host may take to answer before the next is tried.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The proxy of one program.
#[derive(Debug)]
pub(crate) struct Proxied {
    build: Arc<Shared>,
    /// What the machine reaches is reached.
    is_on_host: bool,
    platform: Option<Platform>,
    authority: Arc<Authority>,
    capture: Arc<Capture>,
    runtime: Handle,
    serving: Mutex<Serving>,
}

#[derive(Debug, Default)]
struct Serving {
    /// Its end, and what follows that.
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    /// Why there is none.
    failure: Option<Error>,
}

impl Shared {
    /// Whether a program has a proxy in the place of its network.
    pub(crate) fn proxies(&self, exec: &Exec) -> bool {
        let is_wanted =
            self.request.proxy_network || self.builder.engine.settings().builder.proxy_network;
        let has_network = match exec.network {
            Network::Default => self.request.network != "none",
            Network::Host => true,
            Network::None => false,
        };
        is_wanted && has_network
    }

    /// Whether a program has the machine's network.
    fn is_on_host(&self, exec: &Exec) -> bool {
        exec.network == Network::Host
            || exec.network == Network::Default && self.request.network == "host"
    }

    /// The same vertex with that said of it: what it makes is found apart from what others make.
    pub(crate) fn as_proxied(&self, vertex: &Vertex) -> Option<Vertex> {
        let Op::Exec(exec) = &vertex.op else { return None };
        let exec = self.proxies(exec).then(|| Exec { proxied: true, ..exec.clone() })?;
        Some(Vertex { op: Op::Exec(exec), ..vertex.clone() })
    }

    /// Notes what is known of the requests of a program, by what its result is found by.
    pub(crate) fn recall(&self, vertex: &Vertex, key: &Digest) {
        if !matches!(&vertex.op, Op::Exec(exec) if exec.proxied) {
            return;
        }
        if let Some(known) = self.builder.made.captured(key) {
            let mut all = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(vertex.digest.clone(), known);
        }
    }

    /// Whether what was found by `key` may be used: rules for sources are rules for what it was made of, too. Where that
    /// is not known any more it cannot be judged, and is made anew where there are rules.
    pub(crate) async fn may_use(self: &Arc<Self>, vertex: &Vertex, key: &Digest) -> bool {
        if !matches!(&vertex.op, Op::Exec(exec) if exec.proxied) {
            return true;
        }
        self.recall(vertex, key);
        let Some(known) = self.captured(vertex) else { return !self.client.has_policy() };
        let Captured { materials, incomplete, ruled, .. } = known;
        // What it was made of by other rules is not what it would be made of now.
        for Ruled { url, instead } in ruled {
            let asked = Source::Http(Http { url: url.clone(), ..Http::default() });
            let decided = self.decided(&asked, vertex.platform.as_ref()).await;
            let now = decided.ok().and_then(|decided| another(&asked, &url, decided).ok());
            // Refused, as it was then, or something in its place, which was the same.
            let is_same = match now {
                None => instead.is_none(),
                Some(other) => other.is_some() && other == instead,
            };
            if !is_same {
                return false;
            }
        }
        let urls = materials.iter().map(|one| &one.url);
        let urls: BTreeSet<&String> = urls.chain(incomplete.iter().map(|one| &one.url)).collect();
        for url in urls.into_iter().filter(|url| !url.is_empty()) {
            let asked = Source::Http(Http { url: url.clone(), ..Http::default() });
            match self.decided(&asked, vertex.platform.as_ref()).await {
                Ok(decided) if decided == asked => {}
                // It is asked for anew, and what comes of that is told then.
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    /// What a program of this build has asked for; `None`: nobody knows any more.
    pub(crate) fn captured(&self, vertex: &Vertex) -> Option<Captured> {
        let all = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&vertex.digest).cloned()
    }
}

impl Proxied {
    /// The proxy of a program that is to have one.
    pub(crate) fn of(
        build: &Arc<Shared>,
        exec: &Exec,
        platform: Option<&Platform>,
    ) -> Result<Option<Arc<Self>>, Error> {
        if !exec.proxied {
            return Ok(None);
        }
        let network = &build.request.network;
        if exec.network == Network::Default && network.starts_with("container:") {
            // That is not its own to leave.
            let why =
                format!("network mode {network} is not allowed when proxy network is enabled");
            return Err(Error::Invalid(why));
        }
        let authority = Authority::new().map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(Some(Arc::new(Self {
            build: Arc::clone(build),
            is_on_host: build.is_on_host(exec),
            platform: platform.cloned(),
            authority: Arc::new(authority),
            capture: Arc::default(),
            runtime: Handle::current(),
            serving: Mutex::default(),
        })))
    }

    /// Has a step run with it.
    pub(crate) fn dress(&self, step: &mut Step) {
        step.proxied = Some(self.authority.pem());
        if self.is_on_host {
            // It is reached from here.
            "none".clone_into(&mut step.network);
        }
        Self::set_variables(&mut step.env);
    }

    /// Has a program know where it is, whatever else it was told.
    pub(crate) fn set_variables(env: &mut Vec<String>) {
        let variables = variables();
        let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
        env.retain(|line| !variables.iter().any(|own| name(own) == name(line)));
        env.extend(variables);
    }

    /// Begins to serve a step, on a thread that may wait. A step that cannot be served is killed:
    /// [`Proxied::end`] says why.
    pub(crate) fn begin(self: &Arc<Self>, step: &RunningStep) {
        let engine = &self.build.builder.engine;
        let begun = match engine.step_listener(step) {
            Ok(Some(socket)) => self.serve(socket, step),
            // It has ended already.
            Ok(None) => return,
            Err(error) => Err(error.into()),
        };
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        match begun {
            Ok(running) => serving.running = Some(running),
            Err(error) => {
                serving.failure = Some(error);
                // One that has ended needs none.
                _ = engine.signal_step(step, None, Signal::KILL.as_raw());
            }
        }
    }

    fn serve(
        self: &Arc<Self>,
        socket: OwnedFd,
        step: &RunningStep,
    ) -> Result<(oneshot::Sender<()>, JoinHandle<()>), Error> {
        let _entered = self.runtime.enter();
        let listener = std::net::TcpListener::from(socket);
        let listener = TcpListener::from_std(listener).at("epoll_ctl", Path::new("a proxy"))?;
        let step = (!self.is_on_host).then(|| step.clone());
        let (build, platform) = (Arc::clone(&self.build), self.platform.clone());
        let outside = Arc::new(World { build, platform, step });
        let trust = Arc::clone(&self.build.builder.trust);
        let (authority, capture) = (Arc::clone(&self.authority), Arc::clone(&self.capture));
        let proxy = Arc::new(Proxy::new(outside, authority, trust, capture));
        let (end, ended) = oneshot::channel();
        Ok((end, self.runtime.spawn(egress::serve(proxy, listener, ended))))
    }

    /// The step has ended: what it has asked for. On a thread that may wait.
    ///
    /// # Errors
    ///
    /// The step could not be served.
    pub(crate) fn end(&self) -> Result<Captured, Error> {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        let Serving { running, failure } = std::mem::take(&mut *serving);
        drop(serving);
        if let Some(error) = failure {
            return Err(error);
        }
        if let Some((end, serving)) = running {
            // Who serves may have ended by itself.
            _ = end.send(());
            _ = self.runtime.block_on(serving);
        }
        Ok(self.capture.captured())
    }
}

/// What a program is told of its proxy.
fn variables() -> Vec<String> {
    let address = format!("http://{STEP_PROXY}");
    let of = |name: &str, value: &str| {
        [format!("{}={value}", name.to_uppercase()), format!("{name}={value}")]
    };
    let [http, https, no] =
        [of("http_proxy", &address), of("https_proxy", &address), of("no_proxy", NOT_PROXIED)];
    [http, https, no].into_iter().flatten().collect()
}

/// A step whose output goes on, and which has a proxy.
pub(crate) struct WithProxy<'a> {
    pub(crate) proxied: &'a Arc<Proxied>,
    pub(crate) output: &'a mut dyn FnMut(u8, &[u8]),
}

impl StepIo for WithProxy<'_> {
    fn started(&mut self, step: RunningStep, _: Option<std::os::unix::net::UnixStream>) {
        self.proxied.begin(&step);
    }

    fn output(&mut self, stream: u8, data: &[u8]) {
        (self.output)(stream, data);
    }
}

/// What is beyond the proxy of a step.
struct World {
    build: Arc<Shared>,
    platform: Option<Platform>,
    /// Whose network is asked from; `None`: the builder's own.
    step: Option<RunningStep>,
}

impl Outside for World {
    fn judge<'a>(&'a self, url: &'a str) -> Asked<'a, Option<String>, String> {
        Box::pin(async move {
            let asked = Source::Http(Http { url: url.to_owned(), ..Http::default() });
            let decided = self.build.decided(&asked, self.platform.as_ref()).await;
            let decided = decided.map_err(|error| docker::error::chain(&error))?;
            another(&asked, url, decided)
        })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Asked<'a, TcpStream, io::Error> {
        Box::pin(async move {
            let mut addresses = self.build.builder.settings.resolver.lookup(host).await?;
            // Where both work it hardly matters, where only one does it is mostly that.
            addresses.sort_by_key(IpAddr::is_ipv6);
            let mut failure = None;
            for address in addresses {
                let address = SocketAddr::new(address, port);
                let socket = self.socket(address.is_ipv6()).await?;
                let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                let connected = timeout(ATTEMPT, socket.connect(address)).await;
                match connected.unwrap_or_else(|_| Err(late())) {
                    Ok(stream) => return Ok(stream),
                    // The first address says the most: others may be of a family that has no route.
                    Err(error) => {
                        let shown = io::Error::new(error.kind(), format!("{address}: {error}"));
                        failure.get_or_insert(shown);
                    }
                }
            }
            Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
        })
    }
}

impl World {
    /// A socket that reaches what the step may.
    async fn socket(&self, ipv6: bool) -> io::Result<TcpSocket> {
        let Some(step) = self.step.clone() else {
            return if ipv6 { TcpSocket::new_v6() } else { TcpSocket::new_v4() };
        };
        let made = self
            .build
            .blocking(move |build| Ok(build.builder.engine.step_socket(&step, ipv6)?))
            .await;
        let socket = made.map_err(|error| io::Error::other(docker::error::chain(&error)))?;
        let gone = || io::Error::other("the step has ended");
        let socket = std::net::TcpStream::from(socket.ok_or_else(gone)?);
        Ok(TcpSocket::from_std_stream(socket))
    }
}

/// What is asked for in the place of a URL: only another URL can be.
fn another(asked: &Source, url: &str, decided: Source) -> Result<Option<String>, String> {
    if decided == *asked {
        return Ok(None);
    }
    let Source::Http(other) = decided else {
        return Err(format!("what is in the place of {url} is no address of HTTP"));
    };
    if (Http { url: other.url.clone(), ..Http::default() }) != other {
        return Err(format!(
            "more than the address of {url} is another one, which a proxy cannot heed"
        ));
    }
    Ok(Some(other.url))
}

#[cfg(test)]
mod tests {
    use buildgraph::{Image, Resolve};

    use super::*;

    #[test]
    fn the_proxy_is_where_the_builder_says() {
        let mut env = ["A=b", "http_proxy=http://elsewhere", "NO_PROXY=*", "HTTP_PROXY_X=1"]
            .map(str::to_owned)
            .to_vec();
        Proxied::set_variables(&mut env);
        let (kept, own) = env.split_at(2);
        assert_eq!(kept, ["A=b", "HTTP_PROXY_X=1"]);
        let address = format!("http://{STEP_PROXY}");
        let pairs = [
            ("http_proxy", address.as_str()),
            ("https_proxy", &address),
            ("no_proxy", NOT_PROXIED),
        ];
        for (name, value) in pairs {
            for name in [name.to_owned(), name.to_uppercase()] {
                assert!(own.contains(&format!("{name}={value}")), "{name}: {own:?}");
            }
        }
        assert_eq!(own.len(), 6);
    }

    #[test]
    fn only_an_address_takes_the_place_of_one() {
        let http = |url: &str| Http { url: url.to_owned(), ..Http::default() };
        let asked = Source::Http(http("http://a/x"));
        let of = |decided| another(&asked, "http://a/x", decided);
        assert_eq!(of(asked.clone()), Ok(None));
        assert_eq!(of(Source::Http(http("http://b/x"))), Ok(Some("http://b/x".to_owned())));
        let named = Http { auth_secret: "s".into(), ..http("http://a/x") };
        assert!(of(Source::Http(named)).unwrap_err().contains("http://a/x"));
        let image = Image::named("docker.io/library/a:b".to_owned(), Resolve::Default);
        assert!(of(Source::Image(image)).is_err());
    }
}
