//! What layers do to each other.

use super::*;
use crate::explain::{Act, Change};

/// An image of layers, each with its entries: a directory ends with `/`.
fn image(home: &Home, layers: &[&[(&str, &str)]]) -> Image {
    let archives: Vec<Vec<u8>> = layers.iter().map(|entries| archive(entries)).collect();
    home.images.load(&mut layers::layout(&archives).as_slice()).unwrap().remove(0)
}

fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, text) in entries {
        let kind = if path.ends_with('/') { Kind::Directory } else { Kind::File };
        let (size, mode) = (text.len() as u64, 0o755);
        let entry = Entry { path: path.as_bytes().into(), kind, size, mode, ..Entry::default() };
        writer.append(&entry, &mut text.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn acts(changes: &[Change]) -> Vec<(Act, String, u64, u64)> {
    let text = |change: &Change| String::from_utf8(change.path.clone()).unwrap();
    changes.iter().map(|one| (one.act, text(one), one.size, one.hidden)).collect()
}

#[test]
fn each_layers_changes_and_what_they_hide_are_told() {
    let home = Home::new("explain");
    let image = image(
        &home,
        &[
            &[("etc/", ""), ("etc/a", "1234"), ("etc/b", "12"), ("var/", ""), ("var/x", "123456")],
            &[("./etc/", ""), ("./etc/a", "12345"), ("./etc/b", "12"), ("./etc/c", "1")],
            &[("etc/.wh.c", ""), ("var/.wh..wh..opq", ""), ("var/y", "1"), ("etc/.wh.none", "")],
        ],
    );
    let explained = home.images.explain("many:1").unwrap();
    assert_eq!((explained.id, explained.repo_tags), (image.id, vec!["many:1".to_owned()]));
    let found: Vec<_> =
        explained.layers.iter().map(|one| (one.size, one.wasted, acts(&one.changes))).collect();
    let path = str::to_owned;
    assert_eq!(
        found,
        [
            (
                12,
                12,
                vec![
                    (Act::Add, path("etc"), 0, 0),
                    (Act::Add, path("etc/a"), 4, 0),
                    (Act::Add, path("etc/b"), 2, 0),
                    (Act::Add, path("var"), 0, 0),
                    (Act::Add, path("var/x"), 6, 0),
                ]
            ),
            (
                8,
                1,
                vec![
                    (Act::Change, path("etc/a"), 5, 4),
                    (Act::Touch, path("etc/b"), 2, 2),
                    (Act::Add, path("etc/c"), 1, 0),
                ]
            ),
            (
                1,
                0,
                vec![
                    (Act::Remove, path("etc/c"), 0, 1),
                    (Act::Remove, path("var/x"), 0, 6),
                    (Act::Add, path("var/y"), 1, 0),
                ]
            ),
        ]
    );
}

#[test]
fn a_whiteout_is_about_the_layers_below_whatever_the_order() {
    let home = Home::new("explain-order");
    image(
        &home,
        &[
            &[("d/", ""), ("d/a", "12"), ("d/e/", ""), ("d/e/f", "123"), ("d-", "1")],
            // Its own `d` first, then that nothing of the one below is to be seen.
            &[("d/", ""), ("d/a", "1"), ("d/.wh..wh..opq", "")],
            // A file where a directory was.
            &[("d", "1")],
        ],
    );
    let layers = home.images.explain("many:1").unwrap().layers;
    let path = str::to_owned;
    assert_eq!(
        acts(&layers[1].changes),
        [
            (Act::Change, path("d/a"), 1, 2),
            (Act::Remove, path("d/e"), 0, 0),
            (Act::Remove, path("d/e/f"), 0, 3),
        ]
    );
    assert_eq!(
        acts(&layers[2].changes),
        [(Act::Change, path("d"), 1, 0), (Act::Remove, path("d/a"), 0, 1)]
    );
    assert_eq!(layers.iter().map(|one| one.wasted).collect::<Vec<_>>(), [5, 1, 0]);
}

#[test]
fn the_tree_has_every_layer_once() {
    let home = Home::new("tree");
    image(&home, &[&[("a", "12")], &[("b", "1")]]);
    home.images.tag("many:1", "y:2").unwrap();
    let tree = home.images.layer_tree().unwrap();
    let root = tree.iter().find(|layer| layer.parent.is_none()).unwrap();
    let top = tree.iter().find(|layer| layer.parent.as_ref() == Some(&root.chain)).unwrap();
    assert_eq!((tree.len(), root.size, top.size), (2, 2, 1));
    assert_eq!((root.images.len(), &top.images), (0, &vec!["many:1".to_owned(), "y:2".to_owned()]));
}

/// Whatever an image holds, it is not all kept in memory.
#[test]
fn an_image_of_endless_files_is_not_explained() {
    let home = Home::new("explain-many");
    let names: Vec<_> = (0..4000).map(|n| format!("{}{n}", "n".repeat(100))).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    home.import("many:1", &tar(&files));
    let error = home.images.explain("many:1").unwrap_err();
    assert_eq!(error.to_string(), "the image has more files than can be explained");
    assert_eq!(error.class(), Class::Invalid);
}
