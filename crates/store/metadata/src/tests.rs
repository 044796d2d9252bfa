use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use oci::{ChainId, DiffId, Digest};

use super::*;

mod schema;
mod served;

/// A folder that goes when the test ends.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("dhow-metadata-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn db(&self) -> Db {
        Db::open(&self.0.join("dhow.db")).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn container(id: &str, name: &str) -> Container {
    Container {
        id: id.into(),
        name: name.into(),
        image: Some(Digest::sha256(b"image")),
        snapshot: Some(id.into()),
        auto_remove: false,
        created: 1,
        config: "{}".into(),
    }
}

fn write<T>(db: &Db, change: impl FnOnce(&Write) -> Result<T, Error>) -> T {
    db.write(change).unwrap()
}

#[test]
fn the_file_is_ours_alone_and_in_wal_mode() {
    let dir = Dir::new("mode");
    let db = dir.db();
    write(&db, |tx| tx.insert_container(&container("aa", "web")));
    for file in std::fs::read_dir(&dir.0).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
    assert!(dir.0.join("dhow.db-wal").exists());
}

#[test]
fn containers_are_found_as_people_name_them() {
    let dir = Dir::new("find");
    let db = dir.db();
    write(&db, |tx| {
        tx.insert_container(&container("abc1", "web"))?;
        tx.insert_container(&container("abd2", "abc"))?;
        tx.insert_container(&container("bcd3", "db"))
    });
    let find = |wanted: &str| {
        db.read(|tx| tx.find_container(wanted)).map(|found| found.id).map_err(|e| e.to_string())
    };
    let none = |name: &str| Err(format!("no such container: {name}"));
    for (wanted, found) in [
        ("abc1", Ok("abc1".into())),
        ("web", Ok("abc1".into())),
        ("/web", Ok("abc1".into())),
        ("abc", Ok("abd2".into())), // a name comes before the start of an id
        ("abd", Ok("abd2".into())),
        ("b", Ok("bcd3".into())),
        ("ab", Err("container id prefix `ab` fits several".into())),
        ("abc12", none("abc12")),
        ("", none("")),
        ("%", none("%")),
        ("xyz", none("xyz")),
    ] {
        assert_eq!(find(wanted), found, "{wanted}");
    }
}

#[test]
fn a_name_is_given_once() {
    let dir = Dir::new("name");
    let db = dir.db();
    write(&db, |tx| tx.insert_container(&container("aa", "web")));
    let again = db.write(|tx| tx.insert_container(&container("bb", "web"))).unwrap_err();
    assert_eq!(again.to_string(), "container name `web` is already in use by `aa`");
    write(&db, |tx| tx.insert_container(&container("bb", "db")));
    assert!(db.write(|tx| tx.rename_container("bb", "web")).is_err());
    write(&db, |tx| tx.delete_container("aa", 0));
    write(&db, |tx| tx.rename_container("bb", "web"));
    assert!(db.write(|tx| tx.rename_container("cc", "x")).unwrap_err().is_not_found());
}

#[test]
fn a_failed_change_leaves_nothing() {
    let dir = Dir::new("rollback");
    let db = dir.db();
    let failed: Result<(), Error> = db.write(|tx| {
        tx.insert_container(&container("aa", "web"))?;
        tx.begin_operation(&Operation {
            subject: "aa".into(),
            kind: "create".into(),
            owner: "1".into(),
            detail: String::new(),
            started: 1,
        })?;
        tx.insert_container(&container("bb", "web"))
    });
    assert!(failed.is_err());
    assert!(db.read(Read::containers).unwrap().is_empty());
    assert!(db.read(Read::operations).unwrap().is_empty());
}

#[test]
fn a_step_of_a_build_is_found_by_its_full_id_alone() {
    let dir = Dir::new("steps");
    let db = dir.db();
    write(&db, |tx| {
        tx.insert_container(&container("abc1", "step:abc1"))?;
        tx.insert_container(&container("abd2", "web"))
    });
    let find = |wanted: &str| db.read(|tx| tx.find_container(wanted)).map(|found| found.id).ok();
    assert_eq!(find("abc1").as_deref(), Some("abc1"));
    assert_eq!(find("ab").as_deref(), Some("abd2"), "it makes nothing ambiguous");
    for wanted in ["abc", "step:abc1", "/step:abc1"] {
        assert_eq!(find(wanted), None, "{wanted}");
    }
    let ids = |rows: Vec<Container>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(db.read(Read::containers).unwrap()), ["abd2"]);
    assert_eq!(ids(db.read(Read::steps).unwrap()), ["abc1"]);
}

#[test]
fn removing_a_container_takes_all_that_was_its_own() {
    let dir = Dir::new("remove");
    let db = dir.db();
    let address: IpAddr = "10.0.0.2".parse().unwrap();
    let port = Port { protocol: "tcp".into(), address, port: 80, container: "aa".into() };
    write(&db, |tx| {
        tx.insert_network(&Network {
            id: "n1".into(),
            name: "bridge".into(),
            created: 0,
            config: "{}".into(),
        })?;
        tx.insert_container(&container("aa", "web"))?;
        tx.begin_operation(&Operation {
            subject: "aa".into(),
            kind: "start".into(),
            owner: "1".into(),
            detail: String::new(),
            started: 1,
        })?;
        tx.lease_address("n1", address, "aa")?;
        tx.reserve_port(&port)
    });
    assert!(write(&db, |tx| tx.delete_container("aa", 100)));
    assert!(!write(&db, |tx| tx.delete_container("aa", 100)));
    db.read(|tx| {
        assert!(tx.operations()?.is_empty());
        assert!(tx.leases_of("aa")?.is_empty());
        assert!(tx.ports_of("aa")?.is_empty());
        assert_eq!(tx.leases("n1")?[0].released, Some(100));
        Ok::<(), Error>(())
    })
    .unwrap();
}

#[test]
fn an_address_is_somebodys_until_it_is_released() {
    let dir = Dir::new("lease");
    let db = dir.db();
    let address: IpAddr = "fd00::2".parse().unwrap();
    write(&db, |tx| {
        tx.insert_network(&Network {
            id: "n1".into(),
            name: "n".into(),
            created: 0,
            config: "{}".into(),
        })?;
        tx.lease_address("n1", address, "aa")
    });
    let lease = |who: &str| db.write(|tx| tx.lease_address("n1", address, who));
    assert!(lease("bb").is_err(), "held");
    lease("aa").unwrap();
    write(&db, |tx| tx.release_addresses("aa", 500));
    lease("bb").unwrap();
    assert!(lease("aa").is_err(), "held by the other one");
    write(&db, |tx| tx.delete_network("n1"));
    assert!(db.read(|tx| tx.leases("n1")).unwrap().is_empty());
}

#[test]
fn ports_clash_with_the_unspecified_address() {
    let dir = Dir::new("ports");
    let db = dir.db();
    let reserve = |address: &str, protocol: &str, port, who: &str| {
        let address = address.parse().unwrap();
        let new = Port { protocol: protocol.into(), address, port, container: who.into() };
        db.write(|tx| tx.reserve_port(&new)).is_ok()
    };
    assert!(reserve("127.0.0.1", "tcp", 80, "aa"));
    assert!(!reserve("127.0.0.1", "tcp", 80, "bb"));
    assert!(!reserve("0.0.0.0", "tcp", 80, "bb"));
    assert!(reserve("127.0.0.2", "tcp", 80, "bb"));
    assert!(reserve("::", "tcp", 80, "bb"));
    assert!(reserve("0.0.0.0", "udp", 80, "bb"));
    assert!(reserve("0.0.0.0", "tcp", 81, "bb"));
    write(&db, |tx| tx.release_ports("aa"));
    assert!(!reserve("0.0.0.0", "tcp", 80, "cc"));
    write(&db, |tx| tx.release_ports("bb"));
    assert!(reserve("0.0.0.0", "tcp", 80, "cc"));
}

#[test]
fn images_share_layers_and_names_move() {
    let dir = Dir::new("images");
    let db = dir.db();
    let diffs: Vec<_> = [b"1", b"2"].map(|b| DiffId(Digest::sha256(b))).into();
    let chain = ChainId::chain(&diffs);
    let add = |name: &[u8], n_layers: usize| {
        let id = Digest::sha256(name);
        let image =
            Image { id: id.clone(), manifest: Digest::sha256(b"m"), size: 5, created: 1, added: 2 };
        let layers: Vec<_> = (0..n_layers)
            .map(|n| ImageLayer {
                chain: chain[n].clone(),
                diff: diffs[n].clone(),
                blob: diffs[n].0.clone(),
            })
            .collect();
        db.write_durable(|tx| {
            for (n, layer) in layers.iter().enumerate() {
                tx.insert_layer(&Layer {
                    chain: layer.chain.clone(),
                    diff: layer.diff.clone(),
                    parent: n.checked_sub(1).map(|n| chain[n].clone()),
                    size: 1,
                    created: 1,
                })?;
            }
            tx.insert_image(&image, &layers)?;
            tx.set_tag(&Tag {
                reference: "docker.io/library/x:latest".into(),
                image: id.clone(),
                target: None,
                updated: 1,
            })
        })
        .unwrap();
        id
    };
    let one = add(b"one", 1);
    let two = add(b"two", 2);
    db.read(|tx| {
        assert_eq!(tx.tagged_image("docker.io/library/x:latest")?.unwrap().id, two);
        assert!(tx.tags_of(&one)?.is_empty());
        assert_eq!(tx.layer_users(&chain[0])?, 2);
        assert_eq!(tx.image_layers(&two)?.len(), 2);
        assert_eq!(tx.image_by_prefix(&one.hex()[..6])?.unwrap().id, one);
        assert_eq!(tx.image_by_prefix(&one.to_string())?.unwrap().id, one);
        assert!(tx.image_by_prefix("zz")?.is_none());
        assert!(tx.blob_is_used(&one)? && tx.blob_is_used(&diffs[1].0)?);
        Ok::<(), Error>(())
    })
    .unwrap();
    write(&db, |tx| {
        assert!(!tx.delete_unused_layer(&chain[1])?);
        assert!(tx.delete_image(&two)?);
        assert!(!tx.delete_unused_layer(&chain[0])?, "image one has it");
        assert!(tx.delete_unused_layer(&chain[1])?);
        assert!(tx.delete_image(&one)?);
        assert!(tx.delete_unused_layer(&chain[0])?);
        assert!(!tx.blob_is_used(&diffs[0].0)?);
        Ok(())
    });
}

#[test]
fn an_archive_is_known_while_it_stays_the_same() {
    let dir = Dir::new("archive");
    let db = dir.db();
    let id = Digest::sha256(b"x");
    let image = Image { id: id.clone(), manifest: id.clone(), size: 0, created: 0, added: 0 };
    let archive = Archive { device: u64::MAX, inode: 2, size: 3, mtime: 4, ctime: 5 };
    write(&db, |tx| {
        tx.insert_image(&image, &[])?;
        tx.set_archive(&archive, &id)
    });
    let known = |archive: &Archive| db.read(|tx| tx.archive_image(archive)).unwrap();
    assert_eq!(known(&archive), Some(id.clone()));
    assert_eq!(known(&Archive { ctime: 6, ..archive }), None);
    write(&db, |tx| tx.delete_image(&id));
    assert_eq!(known(&archive), None);
}

#[test]
fn tidying_loses_nothing() {
    let dir = Dir::new("tidy");
    let db = dir.db();
    for n in 0..60 {
        let id = format!("{n:04x}");
        write(&db, |tx| tx.insert_container(&container(&id, &id)));
    }
    let size = || std::fs::metadata(dir.0.join("dhow.db-wal")).unwrap().len();
    assert!(size() >= TIDY_BYTES, "{} bytes", size());
    db.tidy().unwrap();
    // It is begun anew already: the next change has nothing to sync.
    assert!((1..64 << 10).contains(&size()), "{} bytes", size());
    dir.db().tidy().unwrap();
    write(&db, |tx| tx.insert_container(&container("ff", "ff")));
    assert_eq!(dir.db().read(Read::containers).unwrap().len(), 61);
    let log = std::fs::metadata(dir.0.join("dhow.db-wal")).unwrap().len();
    assert!(log < TIDY_BYTES, "{log} bytes");
}

#[test]
fn threads_of_several_connections_lose_nothing() {
    let dir = Dir::new("threads");
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let dir = &dir;
            scope.spawn(move || {
                let db = dir.db();
                for n in 0..25 {
                    let id = format!("{thread:02x}{n:02x}");
                    write(&db, |tx| tx.insert_container(&container(&id, &id)));
                }
            });
        }
    });
    assert_eq!(dir.db().read(Read::containers).unwrap().len(), 150);
}

#[test]
fn many_may_be_the_first() {
    for round in 0..60 {
        let dir = Dir::new(&format!("first-{round}"));
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let dir = &dir;
                scope.spawn(move || {
                    let id = format!("{thread:02x}");
                    write(&dir.db(), |tx| tx.insert_container(&container(&id, &id)));
                });
            }
        });
        assert_eq!(dir.db().read(Read::containers).unwrap().len(), 6);
        let n_files = std::fs::read_dir(&dir.0).unwrap().count();
        assert_eq!(n_files, 3, "the database, its log and its index");
    }
}

#[test]
fn what_a_dead_maker_left_is_removed() {
    let dir = Dir::new("leftover");
    let left = dir.0.join("dhow.db.new-999999999.0-wal");
    std::fs::write(&left, "x").unwrap();
    drop(dir.db());
    assert!(!left.exists());
}

/// The child half of the next test: adds containers until it is told to stop by a signal.
#[test]
fn child_that_adds_containers() {
    let Ok(path) = std::env::var("DHOW_TEST_DB") else { return };
    let db = Db::open(path.as_ref()).unwrap();
    for n in 0u32.. {
        let id = format!("{:08x}{n:08x}", std::process::id());
        write(&db, |tx| {
            tx.insert_container(&container(&id, &id))?;
            tx.begin_operation(&Operation {
                subject: id.clone(),
                kind: "create".into(),
                owner: String::new(),
                detail: String::new(),
                started: 0,
            })
        });
    }
}

#[test]
fn processes_that_are_killed_leave_whole_changes() {
    let dir = Dir::new("killed");
    drop(dir.db());
    for _ in 0..4 {
        let mut children: Vec<_> = (0..3)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "tests::child_that_adds_containers", "--nocapture"])
                    .env("DHOW_TEST_DB", dir.0.join("dhow.db"))
                    .stdout(std::process::Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let before = dir.db().read(Read::containers).unwrap().len();
        let deadline = Instant::now() + Duration::from_mins(1);
        while dir.db().read(Read::containers).unwrap().len() < before + 30 {
            assert!(Instant::now() < deadline, "the children add nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let db = dir.db();
        let containers = db.read(Read::containers).unwrap();
        let operations = db.read(Read::operations).unwrap();
        assert_eq!(containers.len(), operations.len(), "a change was cut in two");
        let check: String =
            db.lock().0.0.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

/// Not a limit, a number to look at: `cargo test -p dhow-metadata --release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn what_opening_costs() {
    let dir = Dir::new("cost");
    let db = dir.db();
    for n in 0..200 {
        let id = format!("{n:08x}");
        write(&db, |tx| tx.insert_container(&container(&id, &id)));
    }
    drop(db);
    for what in ["open", "open, after tidying"] {
        let start = Instant::now();
        for _ in 0..100 {
            drop(dir.db());
        }
        println!("{what}: {:?}", start.elapsed() / 100);
        let db = dir.db();
        db.tidy().unwrap();
        write(&db, |tx| tx.insert_container(&container(what, what)));
    }
    let start = Instant::now();
    for _ in 0..100 {
        let db = dir.db();
        db.read(|tx| tx.find_container("00000007")).unwrap();
    }
    println!("open and one look: {:?}", start.elapsed() / 100);
    let db = dir.db();
    let start = Instant::now();
    for n in 0..100 {
        let id = format!("a{n:08x}");
        write(&db, |tx| tx.insert_container(&container(&id, &id)));
    }
    println!("one change: {:?}", start.elapsed() / 100);
}

#[test]
fn what_a_pull_counts_on_is_kept() {
    let dir = Dir::new("holds");
    let chain = ChainId(Digest::sha256(b"layer"));
    let blob = Digest::sha256(b"blob");
    write(&dir.db(), |tx| {
        tx.insert_layer(&Layer {
            chain: chain.clone(),
            diff: DiffId(chain.0.clone()),
            parent: None,
            size: 1,
            created: 0,
        })?;
        tx.hold("pull", [&chain.0, &blob], 100)?;
        assert!(!tx.delete_unused_layer(&chain)? && tx.blob_is_used(&blob)?);
        assert!(tx.used_blobs()?.contains(&blob));
        tx.hold("pull", [&chain.0], 200)?;
        assert!(!tx.blob_is_used(&blob)? && !tx.let_go_of_old(199)?);
        assert!(tx.let_go_of_old(200)? && tx.delete_unused_layer(&chain)?);
        Ok(())
    });
}

#[test]
fn an_image_is_used_by_its_names_and_containers() {
    let dir = Dir::new("uses");
    let db = dir.db();
    let id = Digest::sha256(b"x");
    let image = Image { id: id.clone(), manifest: id.clone(), size: 0, created: 9, added: 10 };
    let used = || db.read(|tx| Ok::<_, Error>(tx.last_uses()?[&id])).unwrap();
    write(&db, |tx| tx.insert_image(&image, &[]));
    assert_eq!(used(), 10);
    let tag = Tag {
        reference: "docker.io/library/x:1".into(),
        image: id.clone(),
        target: None,
        updated: 20,
    };
    write(&db, |tx| tx.set_tag(&tag));
    assert_eq!(used(), 20);
    let new = Container { image: Some(id.clone()), created: 30, ..container("aa", "aa") };
    write(&db, |tx| tx.insert_container(&new));
    assert_eq!(used(), 30);
    write(&db, |tx| tx.delete_container("aa", 40));
    assert_eq!(used(), 40);
    write(&db, |tx| tx.delete_image(&id));
    write(&db, |tx| tx.note_use(&id, 50));
    assert!(db.read(Read::last_uses).unwrap().is_empty());
}

#[test]
fn an_image_is_held_by_who_has_it_mounted() {
    let dir = Dir::new("mounted");
    let db = dir.db();
    let other = Digest::sha256(b"other");
    write(&db, |tx| {
        tx.insert_container(&container("aa", "web"))?;
        tx.mount_image("aa", &other)?;
        tx.mount_image("aa", &other)
    });
    let users = |image: &Digest| {
        let found = db.read(|tx| tx.containers_of_image(image)).unwrap();
        found.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(
        (users(&other), users(&Digest::sha256(b"image"))),
        (vec!["aa".into()], vec!["aa".into()])
    );
    assert_eq!(db.read(Read::containers_by_image).unwrap()[&other], 1);
    assert!(write(&db, |tx| tx.delete_container("aa", 1)));
    assert!(users(&other).is_empty());
}

#[test]
fn a_volume_takes_another_name_that_is_free() {
    let dir = Dir::new("volumes");
    let db = dir.db();
    let volume = |name: &str| Volume { name: name.into(), created: 1, config: "{}".into() };
    write(&db, |tx| Ok(tx.insert_volume(&volume("a"))? && tx.insert_volume(&volume("b"))?));
    let taken = db.write(|tx| tx.rename_volume("a", "b"));
    assert!(matches!(taken, Err(Error::InUse { .. })), "{taken:?}");
    write(&db, |tx| tx.rename_volume("a", "c"));
    assert!(write(&db, |tx| tx.set_volume_config("c", "{\"x\":1}")));
    assert!(!write(&db, |tx| tx.set_volume_config("a", "{}")));
    let all: Vec<_> = db.read(Read::volumes).unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(all, ["b", "c"]);
}
