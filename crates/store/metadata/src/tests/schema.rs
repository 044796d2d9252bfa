//! Files of other programs, and of older and newer ones of ours.

use super::*;

#[test]
fn an_older_file_is_brought_up_with_all_that_is_in_it() {
    let image = Digest::sha256(b"image");
    for known in 1..crate::schema::STEPS.len() {
        let dir = Dir::new("older");
        let path = dir.0.join("dhow.db");
        let raw = Connection::open(&path).unwrap();
        for step in &crate::schema::STEPS[..known] {
            raw.execute_batch(step).unwrap();
        }
        raw.pragma_update(None, "user_version", known as u32).unwrap();
        let rows = format!(
            "INSERT INTO images VALUES ('{image}', '{image}', 1, 2, 3);
             INSERT INTO tags (reference, image, updated) VALUES ('r.test/a:1', '{image}', 4);"
        );
        raw.execute_batch(&rows).unwrap();
        drop(raw);
        let db = dir.db();
        let tags = db.read(Read::tags).unwrap();
        let names: Vec<_> = tags.iter().map(|tag| tag.reference.as_str()).collect();
        assert_eq!(names, ["r.test/a:1"], "schema {known}");
        assert_eq!((&tags[0].image, &tags[0].target), (&image, &None));
        // And it can be written.
        write(&db, |tx| tx.insert_container(&container("aa", "web")));
    }
}

#[test]
fn a_newer_file_is_left_alone() {
    let dir = Dir::new("newer");
    drop(dir.db());
    let path = dir.0.join("dhow.db");
    let raw = Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 9_999).unwrap();
    drop(raw);
    let error = Db::open(&path).unwrap_err().to_string();
    assert!(error.contains("has schema 9999"), "{error}");
}

#[test]
fn what_is_not_a_database_is_an_error() {
    let dir = Dir::new("garbage");
    let path = dir.0.join("dhow.db");
    std::fs::write(&path, vec![7; 9_000]).unwrap();
    assert!(Db::open(&path).is_err());
    assert!(Db::open(&dir.0.join("none/dhow.db")).is_err());
}
