//! What each instruction says.

use super::{Arguments, Shape, health};
use crate::flags::{Flags, Kind};
use crate::heredoc;
use crate::instruction::{
    Add, Argument, Body, Command, Copy, CopyFlags, Network, Run, Sources, described,
};
use crate::mount::{Device, RawMount};
use crate::problem::Problem;
use crate::scan::Statement;

type Known = (&'static str, Kind);

const COPY_FLAGS: [Known; 4] = [
    ("chown", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Boolean),
    ("exclude", Kind::Texts),
];

pub(super) fn body(
    name: &'static str,
    shape: Shape,
    statement: &Statement,
) -> Result<Body, Problem> {
    let flags = |known: &[Known]| Flags::parse(&shape.flags, known);
    let body = match (name, shape.arguments) {
        ("ADD", Arguments::Words(words)) => {
            Body::Add(Box::new(add(words, &shape.flags, statement)?))
        }
        ("COPY", Arguments::Words(words)) => {
            Body::Copy(Box::new(copy(words, &shape.flags, statement)?))
        }
        ("RUN", arguments) => Body::Run(Box::new(run(arguments, &shape.flags, statement)?)),
        ("HEALTHCHECK", Arguments::Health(kind, rest)) => {
            Body::Healthcheck(health::health(&kind, command_line(*rest), &shape.flags)?)
        }
        (name, arguments) => {
            flags(&[])?;
            return plain(name, arguments, statement);
        }
    };
    Ok(body)
}

/// Those without flags.
fn plain(name: &'static str, arguments: Arguments, statement: &Statement) -> Result<Body, Problem> {
    Ok(match (name, arguments) {
        ("ARG", Arguments::Words(words)) => Body::Arg(self::arguments(words, &statement.comments)?),
        ("CMD", arguments) => Body::Cmd(command(arguments)),
        ("ENTRYPOINT", arguments) => Body::Entrypoint(command(arguments)),
        ("ENV", Arguments::Pairs(pairs)) => Body::Env(checked("ENV", pairs)?),
        ("LABEL", Arguments::Pairs(pairs)) => Body::Label(checked("LABEL", pairs)?),
        ("EXPOSE", Arguments::Words(mut ports)) => {
            if ports.is_empty() {
                return Err(Problem::AtLeastOne("EXPOSE"));
            }
            ports.sort();
            Body::Expose(ports)
        }
        ("ONBUILD", Arguments::Trigger(inner)) => onbuild(inner.as_deref(), statement)?,
        ("SHELL", Arguments::Array(words)) if !words.is_empty() => Body::Shell(words),
        ("SHELL", Arguments::Text(Some(_))) => return Err(Problem::ShellForm),
        ("SHELL", _) => return Err(Problem::AtLeastOne("SHELL")),
        ("VOLUME", Arguments::Words(words)) => volumes(&words)?,
        (name, Arguments::Text(text)) => {
            let text = text.ok_or(Problem::ExactlyOne(name))?;
            match name {
                "MAINTAINER" => Body::Maintainer(text),
                "STOPSIGNAL" => Body::Stopsignal(text),
                "USER" => Body::User(text),
                _ => Body::Workdir(text),
            }
        }
        // Each name has its form, so there is no other.
        (name, _) => return Err(Problem::AtLeastOne(name)),
    })
}

fn checked(
    name: &'static str,
    pairs: Vec<crate::split::Pair>,
) -> Result<Vec<crate::split::Pair>, Problem> {
    if pairs.is_empty() {
        return Err(Problem::AtLeastOne(name));
    }
    if pairs.iter().any(|pair| pair.key.is_empty()) {
        return Err(Problem::BlankName(name));
    }
    Ok(pairs)
}

fn arguments(words: Vec<String>, comments: &[String]) -> Result<Vec<Argument>, Problem> {
    if words.is_empty() {
        return Err(Problem::AtLeastOne("ARG"));
    }
    let argument = |word: String| {
        let (key, value) = match word.split_once('=') {
            Some(("", _)) => return Err(Problem::BlankName("ARG")),
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        let description = described(comments, &key);
        Ok(Argument { key, value, description })
    };
    words.into_iter().map(argument).collect()
}

fn command(arguments: Arguments) -> Command {
    match arguments {
        Arguments::Array(words) => Command::Exec(words),
        Arguments::Text(text) => Command::Shell(text.unwrap_or_default()),
        // No command has another form.
        _ => Command::Shell(String::new()),
    }
}

/// A command that may be missing.
fn command_line(arguments: Arguments) -> Option<Command> {
    match arguments {
        Arguments::Text(None) => None,
        Arguments::Array(words) if words.is_empty() => None,
        arguments => Some(command(arguments)),
    }
}

fn onbuild(inner: Option<&Shape>, statement: &Statement) -> Result<Body, Problem> {
    let inner = inner.ok_or(Problem::AtLeastOne("ONBUILD"))?;
    match inner.name {
        Some("ONBUILD") => return Err(Problem::OnbuildChain),
        Some(name @ ("MAINTAINER" | "FROM")) => return Err(Problem::OnbuildTrigger(name.into())),
        _ => {}
    }
    let text = statement.text.trim_start();
    let mut text = text.get("ONBUILD".len()..).unwrap_or_default().trim_start().to_owned();
    for heredoc in &statement.heredocs {
        text += &format!("\n{}{}", heredoc.content, heredoc.name);
    }
    Ok(Body::Onbuild(text))
}

fn volumes(words: &[String]) -> Result<Body, Problem> {
    if words.is_empty() {
        return Err(Problem::AtLeastOne("VOLUME"));
    }
    let volumes: Vec<String> = words.iter().map(|word| word.trim().to_owned()).collect();
    if volumes.iter().any(String::is_empty) {
        return Err(Problem::EmptyVolume);
    }
    Ok(Body::Volume(volumes))
}

fn run(arguments: Arguments, given: &[String], statement: &Statement) -> Result<Run, Problem> {
    let known = [
        ("mount", Kind::Texts),
        ("network", Kind::Text),
        ("security", Kind::Text),
        ("device", Kind::Texts),
    ];
    let flags = Flags::parse(given, &known)?;
    let mounts = flags.texts("mount").iter().map(|text| RawMount::parse(text));
    let devices = flags.texts("device").iter().map(|text| Device::parse(text));
    let network = match flags.text("network") {
        None | Some("default") => Network::Default,
        Some("none") => Network::None,
        Some("host") => Network::Host,
        Some(other) => return Err(Problem::Network(other.into())),
    };
    let insecure = match flags.text("security") {
        None | Some("sandbox") => false,
        Some("insecure") => true,
        Some(other) => return Err(Problem::Security(other.into())),
    };
    Ok(Run {
        command: command(arguments),
        heredocs: statement.heredocs.clone(),
        mounts: mounts.collect::<Result<_, _>>()?,
        network,
        insecure,
        devices: devices.collect::<Result<_, _>>()?,
    })
}

fn copy_flags(flags: &Flags) -> CopyFlags {
    CopyFlags {
        chown: flags.text_or_empty("chown"),
        chmod: flags.text_or_empty("chmod"),
        link: flags.boolean("link").unwrap_or(false),
        exclude: flags.texts("exclude").to_vec(),
    }
}

fn copy(words: Vec<String>, given: &[String], statement: &Statement) -> Result<Copy, Problem> {
    if words.len() < 2 {
        return Err(Problem::NoDestination("COPY"));
    }
    let own = [("from", Kind::Text), ("parents", Kind::Boolean)];
    let flags = Flags::parse(given, &[COPY_FLAGS.as_slice(), &own].concat())?;
    Ok(Copy {
        sources: sources(words, "COPY", statement)?,
        flags: copy_flags(&flags),
        from: flags.text_or_empty("from"),
        parents: flags.boolean("parents").unwrap_or(false),
    })
}

fn add(words: Vec<String>, given: &[String], statement: &Statement) -> Result<Add, Problem> {
    if words.len() < 2 {
        return Err(Problem::NoDestination("ADD"));
    }
    let own =
        [("keep-git-dir", Kind::Boolean), ("checksum", Kind::Text), ("unpack", Kind::Boolean)];
    let flags = Flags::parse(given, &[COPY_FLAGS.as_slice(), &own].concat())?;
    Ok(Add {
        sources: sources(words, "ADD", statement)?,
        flags: copy_flags(&flags),
        checksum: flags.text_or_empty("checksum"),
        keep_git_dir: flags.boolean("keep-git-dir"),
        unpack: flags.boolean("unpack"),
    })
}

fn sources(
    mut words: Vec<String>,
    name: &'static str,
    statement: &Statement,
) -> Result<Sources, Problem> {
    let destination = words.pop().ok_or(Problem::NoDestination(name))?;
    let is_heredoc = |word: &str| heredoc::of_word(word).ok().flatten();
    if is_heredoc(&destination).is_some() {
        return Err(Problem::HeredocDestination(name));
    }
    let mut sources = Sources { destination, ..Sources::default() };
    for word in words {
        let Some(found) = is_heredoc(&word) else {
            sources.paths.push(word);
            continue;
        };
        // Of two with the same name the last one's text counts.
        let content = statement.heredocs.iter().rfind(|one| one.name == found.name);
        let content = content.map(|one| one.content.clone()).unwrap_or_default();
        sources.files.push(heredoc::Heredoc { content, ..found });
    }
    Ok(sources)
}
