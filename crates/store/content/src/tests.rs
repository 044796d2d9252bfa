use std::io::Read as _;

use super::*;

struct Dir(PathBuf, Store);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dhow-content-{}-{name}", std::process::id()));
        let store = Store::open(&path).unwrap();
        Self(path, store)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn an_empty_store_is_a_valid_layout() {
    let dir = Dir::new("empty");
    let layout: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.0.join("oci-layout")).unwrap()).unwrap();
    assert_eq!(layout["imageLayoutVersion"], "1.0.0");
    let index = fs::read(dir.0.join("index.json")).unwrap();
    assert!(Index::parse(&index).unwrap().manifests.is_empty());
    Store::open(&dir.0).unwrap();
}

#[test]
fn a_blob_is_seen_whole_or_not_at_all() {
    let dir = Dir::new("whole");
    let store = &dir.1;
    let digest = Digest::sha256(b"hello");
    let mut writer = store.writer(100).unwrap();
    writer.write_all(b"hel").unwrap();
    assert_eq!(store.size(&digest).unwrap(), None);
    writer.write_all(b"lo").unwrap();
    writer.finish().unwrap().commit(Some((&digest, 5))).unwrap();
    assert_eq!(store.size(&digest).unwrap(), Some(5));
    assert_eq!(store.read(&digest, 5).unwrap(), b"hello");
    assert_eq!(store.list().unwrap(), [(digest.clone(), 5)]);
    store.put("x", b"hello").unwrap();
    assert_eq!(files(&dir.0.join("ingest")), 0);
    assert!(store.delete(&digest).unwrap());
    assert!(!store.delete(&digest).unwrap());
    assert!(matches!(store.reader(&digest), Err(Error::NotFound { .. })));
}

#[test]
fn what_was_not_promised_is_not_kept() {
    let dir = Dir::new("promise");
    let store = &dir.1;
    let write = |bytes: &[u8], expected: &[u8], size| {
        let mut writer = store.writer(100).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap().commit(Some((&Digest::sha256(expected), size))).unwrap_err()
    };
    assert!(matches!(write(b"a", b"b", 1), Error::WrongDigest { .. }));
    assert!(matches!(write(b"a", b"a", 2), Error::WrongSize { .. }));
    let mut writer = store.writer(3).unwrap();
    assert_eq!(writer.write_all(b"four").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    drop(writer);
    assert!(store.list().unwrap().is_empty());
    assert_eq!(files(&dir.0.join("ingest")), 0);
}

#[test]
fn a_changed_blob_is_noticed() {
    let dir = Dir::new("changed");
    let store = &dir.1;
    let digest = store.put("x", b"hello").unwrap().digest;
    fs::write(store.blob_path(&digest), b"hullo").unwrap();
    assert!(matches!(store.read(&digest, 9), Err(Error::WrongDigest { .. })));
    let error = store.reader(&digest).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(matches!(store.read(&digest, 4), Err(Error::TooLarge { .. })));
}

#[test]
fn a_link_or_fifo_in_the_layout_is_not_followed() {
    let dir = Dir::new("link");
    let store = &dir.1;
    let digest = Digest::sha256(b"x");
    std::os::unix::fs::symlink("/etc/passwd", store.blob_path(&digest)).unwrap();
    assert!(matches!(store.reader(&digest), Err(Error::NotAFile { .. })));
    assert!(matches!(store.size(&digest), Err(Error::NotAFile { .. })));
    fs::remove_file(store.blob_path(&digest)).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, store.blob_path(&digest), fifo, mode, 0).unwrap();
    assert!(matches!(store.reader(&digest), Err(Error::NotAFile { .. })));
}

#[test]
fn only_what_the_dead_have_left_is_swept() {
    let dir = Dir::new("sweep");
    let store = &dir.1;
    let writer = store.writer(10).unwrap();
    fs::write(dir.0.join("ingest/1-0"), b"left behind").unwrap();
    assert_eq!(store.sweep().unwrap(), 1);
    assert!(writer.path().exists());
    writer.finish().unwrap().commit(None).unwrap();
}

#[test]
fn the_lock_is_shared_or_alone() {
    let dir = Dir::new("lock");
    let store = &dir.1;
    let one = store.lock_shared().unwrap();
    let two = store.lock_shared().unwrap();
    let raw = File::open(dir.0.join("lock")).unwrap();
    assert!(flock(&raw, FlockOperation::NonBlockingLockExclusive).is_err());
    drop((one, two));
    let alone = store.lock_alone().unwrap();
    assert!(store.try_lock_alone().unwrap().is_none());
    assert!(flock(&raw, FlockOperation::NonBlockingLockShared).is_err());
    drop(alone);
    flock(&raw, FlockOperation::NonBlockingLockShared).unwrap();
}

/// The file that an unfinished blob leaves.
fn part(dir: &Dir, digest: &Digest) -> PathBuf {
    dir.0.join(format!("ingest/sha256-{}.part", digest.hex()))
}

#[test]
fn a_blob_can_be_read_while_it_comes() {
    let dir = Dir::new("follow");
    let store = &dir.1;
    let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    let digest = Digest::sha256(&bytes);
    let mut incoming = store.incoming(&digest, bytes.len() as u64).unwrap();
    let mut follower = incoming.follow();
    let reader = std::thread::spawn(move || {
        let mut read = Vec::new();
        follower.read_to_end(&mut read).map(|_| read)
    });
    for piece in bytes.chunks(1000) {
        incoming.write_all(piece).unwrap();
    }
    incoming.finish().unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), bytes);
    assert_eq!(store.read(&digest, 1 << 20).unwrap(), bytes);
    assert_eq!(files(&dir.0.join("ingest")), 0);
}

#[test]
fn what_has_come_is_gone_on_with() {
    let dir = Dir::new("resume");
    let store = &dir.1;
    let digest = Digest::sha256(b"hello world");
    let mut incoming = store.incoming(&digest, 11).unwrap();
    let mut follower = incoming.follow();
    incoming.write_all(b"hello").unwrap();
    // Somebody else at the same time begins anew, and leaves nothing.
    let other = store.incoming(&digest, 11).unwrap();
    assert_eq!((other.size(), files(&dir.0.join("ingest"))), (0, 2));
    drop(other);
    drop(incoming);
    let error = follower.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);

    assert_eq!(store.sweep().unwrap(), 0);
    let mut incoming = store.incoming(&digest, 11).unwrap();
    assert_eq!((incoming.size(), incoming.digest()), (5, Digest::sha256(b"hello")));
    assert!(incoming.write(b" world, and more").is_err());
    incoming.write_all(b" world").unwrap();
    incoming.finish().unwrap();
    assert_eq!(store.read(&digest, 20).unwrap(), b"hello world");
    assert_eq!(files(&dir.0.join("ingest")), 0);
}

#[test]
fn of_two_who_want_a_blob_one_fetches_it() {
    let dir = Dir::new("two");
    let store = &dir.1;
    let digest = Digest::sha256(b"hello world");
    let begin = || store.incoming(&digest, 11).unwrap();
    let mut first = begin();
    assert_eq!(first.look_again().unwrap(), Standing::Ours);
    first.write_all(b"hello").unwrap();
    // One waits, and finds it in its place; another one comes when it is there already.
    let mut second = begin();
    let mut follower = second.follow();
    assert_eq!(second.look_again().unwrap(), Standing::Elsewhere(5));
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        follower.read_to_string(&mut text).map(|_| text)
    });
    first.write_all(b" world").unwrap();
    assert_eq!(second.look_again().unwrap(), Standing::Elsewhere(11));
    first.finish().unwrap();
    assert_eq!(second.look_again().unwrap(), Standing::There);
    assert_eq!((second.size(), second.look_again().unwrap()), (11, Standing::There));
    second.finish().unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), "hello world");
    let mut late = begin();
    assert_eq!(late.look_again().unwrap(), Standing::There);
    late.finish().unwrap();
    assert_eq!(files(&dir.0.join("ingest")), 0);

    // One who gives up leaves it to the other, with what has come.
    fs::remove_file(store.blob_path(&digest)).unwrap();
    let mut first = begin();
    first.write_all(b"hello").unwrap();
    let mut second = begin();
    let mut follower = second.follow();
    assert_eq!(second.look_again().unwrap(), Standing::Elsewhere(5));
    drop(first);
    assert_eq!((second.look_again().unwrap(), second.size()), (Standing::Ours, 5));
    second.write_all(b" world").unwrap();
    second.finish().unwrap();
    let mut text = String::new();
    follower.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), files(&dir.0.join("ingest"))), ("hello world", 0));

    // Or it does not wait.
    fs::remove_file(store.blob_path(&digest)).unwrap();
    let first = begin();
    let mut second = begin();
    assert_eq!(second.look_again().unwrap(), Standing::Elsewhere(0));
    second.write_all(b"hello world").unwrap();
    assert_eq!(second.look_again().unwrap(), Standing::Ours);
    second.finish().unwrap();
    assert_eq!(store.read(&digest, 20).unwrap(), b"hello world");
    drop(first);
}

#[test]
fn what_has_come_is_not_trusted() {
    let dir = Dir::new("distrust");
    let store = &dir.1;
    let digest = Digest::sha256(b"hello");
    for (left, rest) in [(&b"hx"[..], &b"llo"[..]), (b"much more than that", b"hallo")] {
        fs::write(part(&dir, &digest), left).unwrap();
        let mut incoming = store.incoming(&digest, 5).unwrap();
        incoming.write_all(rest).unwrap();
        assert!(matches!(incoming.finish(), Err(Error::WrongDigest { .. })));
        assert_eq!(files(&dir.0.join("ingest")), 0);
    }
    fs::write(part(&dir, &digest), b"hallo").unwrap();
    let mut incoming = store.incoming(&digest, 5).unwrap();
    assert_eq!(incoming.size(), 0);
    incoming.write_all(b"hell").unwrap();
    assert!(matches!(incoming.finish(), Err(Error::WrongSize { .. })));
    assert_eq!(store.size(&digest).unwrap(), None);
    std::os::unix::fs::symlink("/etc/hostname", part(&dir, &digest)).unwrap();
    assert!(store.incoming(&digest, 5).is_err());
}

#[test]
fn what_nobody_goes_on_with_is_swept() {
    let dir = Dir::new("old");
    let digest = Digest::sha256(b"hello");
    fs::write(part(&dir, &digest), b"he").unwrap();
    let file = File::options().write(true).open(part(&dir, &digest)).unwrap();
    let old = std::time::SystemTime::now() - incoming::LIFE * 2;
    file.set_modified(old).unwrap();
    assert_eq!(dir.1.sweep().unwrap(), 1);
}

#[test]
fn parts_and_other_digests() {
    let dir = Dir::new("parts");
    let store = &dir.1;
    let mut writer = store.writer(100).unwrap();
    writer.write_all(b"hello").unwrap();
    let finished = writer.finish().unwrap().rehash(Algorithm::Sha512).unwrap();
    let mut direct = store.writer_of(Algorithm::Sha512, 100).unwrap();
    direct.write_all(b"hello").unwrap();
    assert_eq!(finished.digest(), direct.finish().unwrap().digest());
    let (digest, size) = finished.commit(None).unwrap();
    assert_eq!((digest.algorithm(), size), (Algorithm::Sha512, 5));
    let (mut file, size) = store.part(&digest, 3).unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), size), ("lo", 5));
    let other = Digest::sha256(b"hello");
    std::os::unix::fs::symlink("/etc/passwd", store.blob_path(&other)).unwrap();
    assert!(matches!(store.part(&other, 0), Err(Error::NotAFile { .. })));
}

#[test]
fn a_reserve_is_kept_and_given_away() {
    let dir = Dir::new("reserve");
    let store = &dir.1;
    assert!(!store.release_reserve().unwrap());
    for _ in 0..2 {
        store.keep_reserve().unwrap();
    }
    let path = dir.0.join("reserve");
    let found = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&path).unwrap()) * 512;
    assert!(found >= 512 << 10, "{found} bytes are kept");
    assert!(store.release_reserve().unwrap() && !path.exists());
    assert_eq!(files(&dir.0.join("ingest")), 0);
}

#[test]
fn what_is_fetched_now_is_not_dropped() {
    let dir = Dir::new("drop-parts");
    let store = &dir.1;
    let [one, two] = [b"hello", b"world"].map(|bytes| Digest::sha256(bytes));
    fs::write(part(&dir, &one), b"hel").unwrap();
    let mut incoming = store.incoming(&two, 5).unwrap();
    incoming.write_all(b"wor").unwrap();
    assert_eq!(store.drop_parts().unwrap(), 3);
    assert!(!part(&dir, &one).exists());
    incoming.write_all(b"ld").unwrap();
    incoming.finish().unwrap();
}
