//! Contexts as archives, which go to other people and machines: `meta.json`, and files below `tls/`, as Docker's
//! client writes and reads them. It writes tar, and reads zip as well.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use tarstream::{Entry, Kind, Reader, Writer};
use zip::Archive;

use super::store::{Context, META, Meta, Store, Tls};
use super::{DEFAULT, change, whole};
use crate::Global;
use crate::error::{Error, Result};

/// The most that an archive may hold, in bytes: Docker's own bound.
const MOST: u64 = 10 << 20;
/// What an archive is made of.
const BLOCK: usize = 512;

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
fn unpack(bytes: Vec<u8>) -> std::result::Result<Context, String> {
    if bytes.starts_with(zip::MAGIC) { unpack_zip(&bytes) } else { unpack_tar(bytes) }
}

/// What the files of an archive make.
#[derive(Default)]
struct Parts {
    meta: Option<Meta>,
    tls: Tls,
}

impl Parts {
    /// Takes a file by the place that it has in a context.
    fn take(&mut self, path: &str, data: Vec<u8>) -> std::result::Result<(), String> {
        match path.split('/').collect::<Vec<_>>()[..] {
            [META] => {
                let meta = Meta::parse(&data).map_err(|err| format!("{path}: {err}"))?;
                self.meta = Some(meta);
            }
            ["tls", endpoint, file] if is_name(endpoint) && is_name(file) => {
                let files = self.tls.entry(endpoint.to_owned()).or_default();
                files.insert(file.to_owned(), data);
            }
            _ => return Err(format!("{path:?}: unexpected context file")),
        }
        Ok(())
    }

    fn finish(self) -> std::result::Result<Context, String> {
        let meta = self.meta.ok_or("invalid context: no metadata found")?;
        Ok(Context { meta, tls: self.tls })
    }
}

/// However small it is packed, all of it may be no more than one that is not packed at all.
fn unpack_zip(bytes: &[u8]) -> std::result::Result<Context, String> {
    let archive = Archive::parse(bytes).map_err(|err| err.to_string())?;
    let (mut parts, mut left) = (Parts::default(), MOST);
    for entry in archive.entries().iter().filter(|entry| entry.is_file) {
        let path = String::from_utf8_lossy(&entry.path);
        let data = archive.data(entry, left).map_err(|err| wrong_file(&path, &err))?;
        left -= data.len() as u64;
        parts.take(&path, data)?;
    }
    parts.finish()
}

fn unpack_tar(mut bytes: Vec<u8>) -> std::result::Result<Context, String> {
    // Docker's client ends with the last file's last byte.
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    let mut reader = Reader::new(&bytes[..]);
    let mut parts = Parts::default();
    while let Some(entry) = reader.next_entry().map_err(|err| err.to_string())? {
        if entry.kind != Kind::File {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let data = data(&mut reader).map_err(|err| wrong_file(&path, &err))?;
        parts.take(&path, data)?;
    }
    parts.finish()
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

/// What is wrong with a file of an archive. Its name is whatever somebody gave it, and a terminal may be told of it.
fn wrong_file(path: &str, why: &dyn std::fmt::Display) -> String {
    format!("{}: {why}", path.escape_debug())
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

    /// What Python's `zipfile` makes of `meta.json`, `tls/`, `tls/docker/`, `ca.pem` and `key.pem` there.
    const ZIP: &str = "\
        UEsDBBQAAAAIAAAAIVxh14fJWwAAAF8AAAAJAAAAbWV0YS5qc29uq1byS8xNVbJSyi8tKlbSUfJNLUlMSSxJVLKqrtVR\
        cs1LKcjPzCspBnKVUvKTs1OLQCyP/OISoJaS5AIrff0MK0OgvuDszIIQn+Cw1KLMtEolq7TEnOLU2tpaAFBLAwQUAAAA\
        AAAAACFcAAAAAAAAAAAAAAAABAAAAHRscy9QSwMEFAAAAAAAAAAhXAAAAAAAAAAAAAAAAAsAAAB0bHMvZG9ja2VyL1BL\
        AwQUAAAACAAAACFc/XtfnwcAAAAmAAAAEQAAAHRscy9kb2NrZXIvY2EucGVtc3ZUcCaMAFBLAwQUAAAAAAAAACFcAAAA\
        AAAAAAAAAAAAEgAAAHRscy9kb2NrZXIva2V5LnBlbVBLAQIUAxQAAAAIAAAAIVxh14fJWwAAAF8AAAAJAAAAAAAAAAAA\
        AACAgQAAAABtZXRhLmpzb25QSwECFAMUAAAAAAAAACFcAAAAAAAAAAAAAAAABAAAAAAAAAAAABAAwEGCAAAAdGxzL1BL\
        AQIUAxQAAAAAAAAAIVwAAAAAAAAAAAAAAAALAAAAAAAAAAAAEADAQaQAAAB0bHMvZG9ja2VyL1BLAQIUAxQAAAAIAAAA\
        IVz9e1+fBwAAACYAAAARAAAAAAAAAAAAAACAgc0AAAB0bHMvZG9ja2VyL2NhLnBlbVBLAQIUAxQAAAAAAAAAIVwAAAAA\
        AAAAAAAAAAASAAAAAAAAAAAAAACAgQMBAAB0bHMvZG9ja2VyL2tleS5wZW1QSwUGAAAAAAUABQAhAQAAMwEAAAAA";

    #[test]
    fn a_zip_archive_is_read_as_well() {
        let bytes = data_encoding::BASE64.decode(ZIP.as_bytes()).unwrap();
        let Context { meta, tls } = unpack(bytes.clone()).unwrap();
        assert_eq!((meta.name.as_str(), meta.host().as_str()), ("ours", "tcp://h:1"));
        let files: Vec<_> =
            tls["docker"].iter().map(|(name, data)| (&name[..], data.len())).collect();
        assert_eq!(files, [("ca.pem", 38), ("key.pem", 0)]);
        // A name of the same length that leads elsewhere, wherever it stands.
        let renamed = |from: &[u8], to: &[u8]| {
            let mut bytes = bytes.clone();
            while let Some(at) = bytes.windows(from.len()).position(|part| part == from) {
                bytes[at..at + to.len()].copy_from_slice(to);
            }
            unpack(bytes).unwrap_err()
        };
        for to in [&b"tls/docker/../x.pem"[..18], b"tls/../../key.pemx", b"/etc/profile.d/x.y"] {
            assert!(renamed(b"tls/docker/key.pem", to).contains("unexpected context file"));
        }
        assert!(renamed(b"meta.json", b"tls/a/bcd").contains("no metadata found"));
    }

    #[test]
    fn a_zip_archive_is_no_larger_than_a_tar_archive_may_be() {
        let mut bytes = data_encoding::BASE64.decode(ZIP.as_bytes()).unwrap();
        let entry = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        bytes[entry + 24..entry + 28].copy_from_slice(&(MOST as u32 + 1).to_le_bytes());
        assert_eq!(unpack(bytes).unwrap_err(), "meta.json: zip: more than 10485760 bytes");
    }

    #[test]
    fn names_do_nothing_to_a_terminal() {
        let mut bytes = data_encoding::BASE64.decode(ZIP.as_bytes()).unwrap();
        let name = b"meta.json";
        while let Some(at) = bytes.windows(name.len()).position(|part| part == name) {
            bytes[at..at + name.len()].copy_from_slice(b"met\x1b.json");
        }
        let entry = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        bytes[entry + 24..entry + 28].copy_from_slice(&(MOST as u32 + 1).to_le_bytes());
        let want = "met\\u{1b}.json: zip: more than 10485760 bytes";
        assert_eq!(unpack(bytes).unwrap_err(), want);
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
        assert!(unpack(b"PK\x03\x04rest".to_vec()).unwrap_err().starts_with("zip: not a valid"));
        assert!(unpack(vec![b'x'; 600]).is_err());
    }
}
