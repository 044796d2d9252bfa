//! Contexts as archives, which go to other people and machines: `meta.json`, and files below `tls/`, as Docker's
//! client writes and reads them.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use tarstream::{Entry, Kind, Reader, Writer};

use super::store::{Context, META, Meta, Store, Tls};
use super::{DEFAULT, change, whole};
use crate::Global;
use crate::error::{Error, Result};

/// The most that an archive may hold, in bytes: Docker's own bound.
const MOST: u64 = 10 << 20;
/// What an archive is made of.
const BLOCK: usize = 512;
/// What a zip archive begins with.
const ZIP: &[u8] = b"PK\x03\x04";

/// `context export`: to a file that is not there yet, or to standard output.
pub(super) fn export(global: &Global, name: &str, file: Option<&str>) -> Result<i32> {
    if name != DEFAULT {
        change::check_name(name)?;
    }
    let archive = pack(&whole(global, &Store::usual(), name)?)
        .map_err(Error::io(format!("pack context {name:?}")))?;
    if file == Some("-") {
        let mut stdout = io::stdout();
        if stdout.is_terminal() {
            let why = "cowardly refusing to export to a terminal, specify a file path";
            return Err(Error::Usage(why.to_owned()));
        }
        let written = stdout.write_all(&archive).and_then(|()| stdout.flush());
        return written.map(|()| 0).map_err(Error::io("write to standard output"));
    }
    let usual = format!("{name}.dockercontext");
    let file = file.unwrap_or(&usual);
    // There may be a key in it.
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut opened = opened.map_err(Error::io(format!("write {file}")))?;
    opened.write_all(&archive).map_err(|err| {
        // The first error says why. What is there would be in the way of the next try.
        let _ = std::fs::remove_file(file);
        Error::io(format!("write {file}"))(err)
    })?;
    eprintln!("Written file {file:?}");
    Ok(0)
}

/// `context import`: from a file, or standard input.
pub(super) fn import(name: &str, file: &str) -> Result<i32> {
    let store = Store::usual();
    change::check_new(&store, name)?;
    let wrong = |why: String| Error::Usage(format!("{file}: {why}"));
    let from: Box<dyn Read> = if file == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(Error::io(format!("open {file}")))?)
    };
    let mut bytes = Vec::new();
    from.take(MOST + 1).read_to_end(&mut bytes).map_err(Error::io(format!("read {file}")))?;
    if bytes.len() as u64 > MOST {
        return Err(wrong(format!("more than {MOST} bytes")));
    }
    let mut context = unpack(bytes).map_err(wrong)?;
    name.clone_into(&mut context.meta.name);
    store.write(&context)?;
    println!("{name}");
    eprintln!("Successfully imported context {name:?}");
    Ok(0)
}

/// The archive of a context.
fn pack(Context { meta, tls }: &Context) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    let file = |path: String, mode, bytes: &[u8]| Entry {
        path: path.into_bytes(),
        mode,
        size: bytes.len() as u64,
        ..Entry::default()
    };
    let directory = |path: String| Entry {
        path: path.into_bytes(),
        kind: Kind::Directory,
        mode: 0o700,
        ..Entry::default()
    };
    let text = serde_json::to_vec(meta)?;
    writer.append(&file(META.to_owned(), 0o644, &text), &mut &text[..])?;
    writer.append(&directory("tls".to_owned()), &mut io::empty())?;
    for (endpoint, files) in tls {
        writer.append(&directory(format!("tls/{endpoint}")), &mut io::empty())?;
        for (name, bytes) in files {
            let entry = file(format!("tls/{endpoint}/{name}"), 0o600, bytes);
            writer.append(&entry, &mut &bytes[..])?;
        }
    }
    writer.finish()
}

/// The context in an archive.
fn unpack(mut bytes: Vec<u8>) -> std::result::Result<Context, String> {
    if bytes.starts_with(ZIP) {
        return Err("a zip archive: give the tar archive that `context export` writes".to_owned());
    }
    // Docker's client ends with the last file's last byte.
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    let mut reader = Reader::new(&bytes[..]);
    let (mut meta, mut tls) = (None, Tls::new());
    while let Some(entry) = reader.next_entry().map_err(|err| err.to_string())? {
        if entry.kind != Kind::File {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let data = data(&mut reader).map_err(|err| format!("{path}: {err}"))?;
        match path.split('/').collect::<Vec<_>>()[..] {
            [META] => meta = Some(Meta::parse(&data).map_err(|err| format!("{path}: {err}"))?),
            ["tls", endpoint, file] if is_name(endpoint) && is_name(file) => {
                tls.entry(endpoint.to_owned()).or_default().insert(file.to_owned(), data);
            }
            _ => return Err(format!("{path:?}: unexpected context file")),
        }
    }
    let meta = meta.ok_or("invalid context: no metadata found")?;
    Ok(Context { meta, tls })
}

fn data(reader: &mut Reader<&[u8]>) -> std::result::Result<Vec<u8>, tarstream::Error> {
    let (mut data, mut buffer) = (Vec::new(), [0; BLOCK]);
    loop {
        let n_read = reader.read_data(&mut buffer)?;
        if n_read == 0 {
            return Ok(data);
        }
        data.extend_from_slice(&buffer[..n_read]);
    }
}

/// Whether a part of a path is a name and leads nowhere else.
fn is_name(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::super::store::Endpoint;
    use super::*;

    fn context() -> Context {
        let endpoint = Endpoint { host: "tcp://h:1".to_owned(), skip_tls_verify: false };
        let files = [("ca.pem".to_owned(), b"CA".to_vec()), ("key.pem".to_owned(), Vec::new())];
        let tls = [("docker".to_owned(), files.into())].into();
        Context { meta: Meta::of("x1", &endpoint), tls }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let archive = pack(&context()).unwrap();
        assert_eq!(unpack(archive.clone()).unwrap(), context());
        // As Docker's client leaves it: without the last block's rest, and no mark of the end.
        let name = archive.windows(14).rposition(|part| part == b"tls/docker/key").unwrap();
        assert_eq!(unpack(archive[..name + BLOCK].to_vec()).unwrap(), context());
        let data = archive.windows(2).rposition(|part| part == b"CA").unwrap();
        let mut short = context();
        short.tls.entry("docker".to_owned()).or_default().remove("key.pem");
        assert_eq!(unpack(archive[..data + 2].to_vec()).unwrap(), short);
    }

    #[test]
    fn an_archive_of_something_else_is_refused() {
        let of = |path: &str, bytes: &[u8]| {
            let mut writer = Writer::new(Vec::new());
            let size = bytes.len() as u64;
            let entry = Entry { path: path.into(), mode: 0o644, size, ..Entry::default() };
            writer.append(&entry, &mut &bytes[..]).unwrap();
            unpack(writer.finish().unwrap()).unwrap_err()
        };
        assert!(of("meta.json", b"{").starts_with("meta.json: "));
        for path in
            ["tls/docker/../../x", "tls/../x", "tls/docker", "other", "tls//x", "/meta.json"]
        {
            assert!(of(path, b"").contains("unexpected context file"), "{path}");
        }
        assert_eq!(of("tls/docker/ca.pem", b""), "invalid context: no metadata found");
        assert_eq!(unpack(Vec::new()).unwrap_err(), "invalid context: no metadata found");
        assert!(unpack(b"PK\x03\x04rest".to_vec()).unwrap_err().starts_with("a zip archive"));
        assert!(unpack(vec![b'x'; 600]).is_err());
    }
}
