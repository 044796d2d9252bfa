//! Names of containers: files of lines `NAME ADDRESS`, one file for each container, one directory
//! for each network.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use dnsmsg::{Kind, Name, Query, Record, Reply};

/// How long an answer may be remembered, in seconds: containers come and go.
const TTL_SECONDS: u32 = 5;

/// What the files in `directories` say about `query`; `None` if they do not know its name.
pub(super) fn look_up(config: &endpoint::Dns, query: &Query) -> Option<Reply> {
    let directories = &config.directories;
    let linked = config.links.iter().find(|(alias, _)| query.name.is(alias));
    let linked = linked.and_then(|(_, name)| Name::from_text(name));
    let asked = linked.as_ref().unwrap_or(&query.name);
    let mut records = Vec::new();
    let wanted = if query.kind == Kind::Ptr { Some(query.name.reversed_address()?) } else { None };
    let mut known = false;
    each_line(directories, |name, address| {
        if let Some(wanted) = wanted {
            if address == wanted && records.is_empty() {
                records.extend(Name::from_text(name).map(Record::Ptr));
            }
        } else if asked.is(name) {
            known = true;
            match (query.kind, address) {
                (Kind::A, IpAddr::V4(address)) => records.push(Record::A(address)),
                (Kind::Aaaa, IpAddr::V6(address)) => records.push(Record::Aaaa(address)),
                _ => {}
            }
        }
    });
    if !known && records.is_empty() {
        return None;
    }
    // Those who take the first answer should not all take the same.
    if records.len() > 1 {
        let start = usize::from(super::relay::random_u16()) % records.len();
        records.rotate_left(start);
    }
    Some(Reply::Records { ttl: TTL_SECONDS, records })
}

fn each_line(directories: &[PathBuf], mut each: impl FnMut(&str, IpAddr)) {
    // What has just gone, with its container or its network, has no names any more.
    for entry in directories.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten() {
        // A name with a dot is of a file that is not finished.
        if entry.file_name().as_encoded_bytes().contains(&b'.') {
            continue;
        }
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        for line in text.lines() {
            if let Some((name, address)) = line.split_once(' ')
                && let Ok(address) = address.trim().parse()
            {
                each(name, address);
            }
        }
    }
}
