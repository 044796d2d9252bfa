//! Commands that lead to a registry: `pull`, `push`, `login`, `logout`.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use docker::progress::Message;
use docker::system::{AuthConfig, AuthResponse};
use hyper::Method;
use reference::Reference;
use registry::{Credentials, Kept, Keys, server_domain, server_key};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::args::{LoginArgs, PullArgs, PushArgs};
use crate::board::{Board, Out};
use crate::client::{Client, empty, encode};
use crate::config;
use crate::error::{Error, Result};
use crate::images::{follow, path_of};
use crate::platforms;

/// What a registry's credentials are sent in.
pub(crate) const AUTH: &str = "X-Registry-Auth";

/// What is to be pulled.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) platform: &'a str,
    /// Every tag of the repository.
    pub(crate) all: bool,
}

/// Pulls an image. Its name, in full.
pub(crate) async fn fetch(client: &Client, wanted: &Wanted<'_>, out: Out) -> Result<String> {
    let reference = parse(wanted.name)?;
    if wanted.all && (reference.tag().is_some() || reference.digest().is_some()) {
        let why = "tag can't be used with --all-tags/-a";
        return Err(Error::Usage(why.into()));
    }
    let reference = if wanted.all { reference } else { reference.with_default_tag() };
    let tag = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or_default().to_owned(),
    };
    let path = format!(
        "/images/create?fromImage={}&tag={}&platform={}",
        encode(&reference.familiar_name()),
        encode(&tag),
        encode(wanted.platform)
    );
    let auth = auth_header(&reference)?;
    let response = client.call_with(Method::POST, &path, &[(AUTH, &auth)], empty()).await?;
    let mut board = Board::new(out);
    follow(client, response, &mut |message: &Message| {
        board.show(message);
        None
    })
    .await?;
    Ok(reference.to_string())
}

/// `pull`.
pub(crate) async fn pull(client: &Client, args: &PullArgs) -> Result<i32> {
    check_trust(args.disable_content_trust)?;
    let wanted = Wanted {
        name: &args.name,
        platform: &config::platform(args.platform.as_deref()),
        all: args.all_tags,
    };
    if !args.all_tags && is_bare(&args.name) && !args.quiet {
        println!("Using default tag: {}", reference::DEFAULT_TAG);
    }
    let out = if args.quiet { Out::Nowhere } else { Out::Stdout };
    println!("{}", fetch(client, &wanted, out).await?);
    Ok(0)
}

/// Docker's content trust went with its servers; who asks for it must not think that it is there.
pub(crate) fn check_trust(flag: Option<bool>) -> Result<()> {
    if config::is_trust_disabled(flag) {
        return Ok(());
    }
    let asked =
        if flag.is_some() { "--disable-content-trust=false" } else { "DOCKER_CONTENT_TRUST" };
    Err(Error::Usage(format!("{asked}: there is no content trust")))
}

/// Whether a name has neither a tag nor a digest.
fn is_bare(name: &str) -> bool {
    name.parse::<Reference>().is_ok_and(|name| name.tag().is_none() && name.digest().is_none())
}

/// `push`.
pub(crate) async fn push(client: &Client, args: &PushArgs) -> Result<i32> {
    check_trust(args.disable_content_trust)?;
    let reference = parse(&args.name)?;
    let tag = match (args.all_tags, reference.tag()) {
        (true, Some(_)) => {
            return Err(Error::Usage("tag can't be used with --all-tags/-a".into()));
        }
        (true, None) => String::new(),
        (false, Some(tag)) => tag.to_owned(),
        (false, None) => {
            if !args.quiet {
                println!("Using default tag: {}", reference::DEFAULT_TAG);
            }
            reference::DEFAULT_TAG.to_owned()
        }
    };
    let platform = platforms::query("platform", &args.platform)?;
    let path = format!(
        "/images/{}/push?tag={}{platform}",
        path_of(&reference.familiar_name()),
        encode(&tag)
    );
    let auth = auth_header(&reference)?;
    // Engines of before 2024 take no push without the header.
    let auth = if auth.is_empty() { "e30=".to_owned() } else { auth };
    let response = client.call_with(Method::POST, &path, &[(AUTH, &auth)], empty()).await?;
    let mut board = Board::new(if args.quiet { Out::Nowhere } else { Out::Stdout });
    let mut notes = Vec::new();
    let pushed = follow(client, response, &mut |message: &Message| {
        board.show(message);
        notes.extend(message.aux.as_ref().and_then(note));
        None
    })
    .await;
    for note in &notes {
        eprintln!(" Info -> {}", note.replace('\n', "\n         "));
    }
    pushed?;
    if args.quiet {
        println!("{reference}");
    }
    Ok(0)
}

/// What a person has to know of an index of which not all is here.
fn note(aux: &serde_json::Value) -> Option<String> {
    if aux["manifestPushedInsteadOfIndex"] == true {
        let digest = |key: &str| aux[key]["digest"].as_str().unwrap_or_default().to_owned();
        return Some(format!(
            "Not all multiplatform-content is present and only the available single-platform image \
             was pushed\n{} -> {}",
            digest("originalIndex"),
            digest("selectedManifest")
        ));
    }
    (aux["contentMissing"] == true).then(|| {
        "You're trying to push a manifest list/index which references multiple platform specific \
         manifests, but not all of them are available locally\nor available to the remote \
         repository.\n\nMake sure you have all the referenced content and try again.\n\nYou can also \
         push only a single platform specific manifest directly by specifying the platform you want \
         to push with the --platform flag."
            .to_owned()
    })
}

/// `login`.
pub(crate) async fn login(client: &Client, args: &LoginArgs) -> Result<i32> {
    let domain = server_domain(args.server.as_deref().unwrap_or_default()).to_owned();
    let path = config::file();
    let known = Keys::read(&path).and_then(|keys| keys.of(&domain)).map_err(|err| refused(&err))?;
    let is_asked = args.username.is_some() || args.password.is_some() || args.password_stdin;
    // Whoever is known already is not asked again, as long as that is good.
    let answered = match known.filter(|_| !is_asked) {
        None => None,
        Some(known) => {
            eprintln!("Authenticating with existing credentials...");
            match try_in(client, &domain, &known).await {
                Ok(answer) => Some((known, answer)),
                Err(error) if io::stdin().is_terminal() => {
                    eprintln!("Login did not succeed, error: {error}");
                    None
                }
                Err(error) => return Err(error),
            }
        }
    };
    let (credentials, answer) = if let Some(answered) = answered {
        answered
    } else {
        let credentials = ask(args)?;
        let answer = try_in(client, &domain, &credentials).await?;
        (credentials, answer)
    };
    let kept = match answer.identity_token.as_str() {
        "" => credentials,
        token => Credentials { identity_token: Some(token.to_owned()), ..credentials },
    };
    if let Kept::InFile(path) =
        registry::keep(&path, &domain, &kept).map_err(|err| refused(&err))?
    {
        eprintln!(
            "WARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential \
             helper (\"credsStore\") to remove this warning.\n",
            path.display()
        );
    }
    println!("{}", answer.status);
    Ok(0)
}

/// Has the engine ask the registry whether these are good.
async fn try_in(client: &Client, domain: &str, credentials: &Credentials) -> Result<AuthResponse> {
    let body = AuthConfig {
        username: credentials.username.clone(),
        password: credentials.password.clone(),
        server_address: server_key(domain).to_owned(),
        identity_token: credentials.identity_token.clone().unwrap_or_default(),
        ..AuthConfig::default()
    };
    client.post("/auth", &body).await
}

/// `logout`.
pub(crate) fn logout(server: Option<&str>) -> Result<i32> {
    let domain = server_domain(server.unwrap_or_default());
    println!("Removing login credentials for {}", server_key(domain));
    if !registry::forget(&config::file(), domain).map_err(|err| refused(&err))? {
        println!("Not logged in to {}", server_key(domain));
    }
    Ok(0)
}

/// The name and the password, from flags, standard input, or the terminal.
fn ask(args: &LoginArgs) -> Result<Credentials> {
    if args.password.is_some() && args.password_stdin {
        let why = "conflicting options: cannot specify both --password and --password-stdin";
        return Err(Error::Usage(why.into()));
    }
    let is_piped = args.password_stdin || args.password.as_deref() == Some("-");
    if args.password.is_some() && !is_piped {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let stdin = |source| Error::Io { what: "read standard input".into(), source };
    if is_piped {
        let Some(username) = args.username.clone() else {
            return Err(Error::Usage(
                "the --password-stdin option requires --username to be set".into(),
            ));
        };
        let mut password = String::new();
        io::stdin().take(1 << 20).read_to_string(&mut password).map_err(stdin)?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        return Ok(Credentials { username, password, ..Credentials::default() });
    }
    if (args.username.is_none() || args.password.is_none()) && !io::stdin().is_terminal() {
        let why = "cannot perform an interactive login from a non-TTY device: give --username and \
                   --password-stdin";
        return Err(Error::Usage(why.into()));
    }
    let username = match args.username.clone() {
        Some(username) => username,
        None => prompt("Username: ")?,
    };
    let password = if let Some(password) = args.password.clone() {
        password
    } else {
        let _silent = Silent::new()?;
        let password = prompt("Password: ")?;
        println!();
        password
    };
    if username.is_empty() || password.is_empty() {
        return Err(Error::Usage("username and password are required".into()));
    }
    Ok(Credentials { username, password, ..Credentials::default() })
}

fn prompt(text: &str) -> Result<String> {
    let failed = |source| Error::Io { what: "ask at the terminal".into(), source };
    print!("{text}");
    io::stdout().flush().map_err(failed)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal does not show what is typed, until this is dropped.
struct Silent(rustix::termios::Termios);

impl Silent {
    fn new() -> Result<Self> {
        let failed = |errno: rustix::io::Errno| Error::Io {
            what: "turn the terminal's echo off".into(),
            source: errno.into(),
        };
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin).map_err(failed)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin, OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that has gone shows nothing anyway.
        _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Who we are to the registry of an image; empty where nothing is known.
fn auth_header(reference: &Reference) -> Result<String> {
    auth_of(reference.domain())
}

/// Who we are to a registry; empty where nothing is known.
pub(crate) fn auth_of(domain: &str) -> Result<String> {
    let known = Keys::read(&config::file())
        .and_then(|keys| keys.of(domain))
        .map_err(|err| refused(&err))?;
    Ok(known.map(|known| known.to_header(server_key(domain))).unwrap_or_default())
}

fn parse(name: &str) -> Result<Reference> {
    name.parse().map_err(|err: reference::Error| Error::Usage(err.to_string()))
}

/// An error and what caused it, in one line.
pub(crate) fn refused(err: &registry::Error) -> Error {
    let mut text = err.to_string();
    let mut source = std::error::Error::source(err);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Error::Usage(text)
}
