//! `image explain` and `image ls --tree`: what is in an image's layers, and who shares them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal as _;

use docker::dhow::{Explained, ExplainedLayer, Layer, Tally};
use docker::image::Summary;
use serde_json::{Value, json};

use crate::args::{ExplainArgs, ImagesArgs};
use crate::client::{Client, encode};
use crate::error::{Error, Result};
use crate::format::{human, table};
use crate::images::{self, path_of};
use crate::list::{self, Column};
use crate::platforms;

const COLUMNS: &[Column] = &[
    Column { field: "Layer", header: "LAYER" },
    Column { field: "Size", header: "SIZE" },
    Column { field: "Wasted", header: "WASTED" },
    Column { field: "Added", header: "ADDED" },
    Column { field: "Changed", header: "CHANGED" },
    Column { field: "Touched", header: "TOUCHED" },
    Column { field: "Removed", header: "REMOVED" },
    Column { field: "CreatedBy", header: "CREATED BY" },
];
const MORE: &[Column] =
    &[Column { field: "Digest", header: "DIGEST" }, Column { field: "Stored", header: "STORED" }];
/// How many of the files that others hide are named.
const MOST_HIDDEN: usize = 10;
/// Characters of the bar of the largest layer.
const BAR: u64 = 24;
/// Characters of an instruction.
const INSTRUCTION: usize = 45;

fn size(bytes: u64) -> String {
    human::size(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// `image explain`.
pub(crate) async fn explain(client: &Client, args: &ExplainArgs) -> Result<i32> {
    let path =
        format!("/dhow/images/{}/explain?files={}", path_of(&args.image), u8::from(args.files));
    let explained: Explained = client.get(&path).await?;
    if args.format.is_some() {
        let rows: Vec<Value> = explained.layers.iter().enumerate().map(row).collect();
        return list::print(args.format.as_deref(), COLUMNS, MORE, &rows);
    }
    if args.files {
        print!("{}", files(&explained));
    } else {
        print!("{}", summary(&explained, std::io::stdout().is_terminal()));
    }
    Ok(0)
}

fn row((index, layer): (usize, &ExplainedLayer)) -> Value {
    let tally = |tally: Tally| match tally {
        Tally { files: 0, .. } => "-".to_owned(),
        Tally { files, bytes } => format!("{files} ({})", size(bytes)),
    };
    json!({
        "Layer": (index + 1).to_string(),
        "Size": size(layer.size),
        "Wasted": if layer.wasted == 0 { "-".to_owned() } else { size(layer.wasted) },
        "Added": tally(layer.added),
        "Changed": tally(layer.changed),
        "Touched": tally(layer.touched),
        "Removed": tally(layer.removed),
        "CreatedBy": instruction(layer),
        "Digest": layer.digest,
        "Stored": size(layer.stored),
    })
}

fn instruction(layer: &ExplainedLayer) -> String {
    human::ellipsis(&human::printable(&layer.created_by), INSTRUCTION)
}

/// All layers, and the files of which most is hidden; with a bar for each layer on a terminal.
fn summary(explained: &Explained, bars: bool) -> String {
    let layers = &explained.layers;
    let (total, wasted) = layers
        .iter()
        .fold((0, 0), |(size, wasted), layer| (size + layer.size, wasted + layer.wasted));
    let name = explained.repo_tags.first().unwrap_or(&explained.id);
    let mut out = format!(
        "{name}: {} in {} layers, of which {} ({:.1}%) {} hidden by later layers\n\n",
        size(total),
        layers.len(),
        size(wasted),
        percent(wasted, total),
        if wasted == 0 { "is" } else { "are stored and" },
    );
    let mut cells = vec![COLUMNS.iter().map(|column| column.header.to_owned()).collect::<Vec<_>>()];
    for (index, layer) in layers.iter().enumerate() {
        let row = row((index, layer));
        let text = |column: &Column| row[column.field].as_str().unwrap_or_default().to_owned();
        cells.push(COLUMNS.iter().map(text).collect());
    }
    if bars {
        let largest = layers.iter().map(|layer| layer.size).max().unwrap_or(0);
        let bar = |layer: &ExplainedLayer| bar(layer.size, layer.wasted, largest);
        let column = std::iter::once(String::new()).chain(layers.iter().map(bar));
        for (cells, bar) in cells.iter_mut().zip(column) {
            cells.insert(1, bar);
        }
    }
    out += &table::render(&cells);
    out += &hidden(layers);
    out
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// A layer's size beside the largest one's: what can be seen, and what later layers hide.
fn bar(size: u64, wasted: u64, largest: u64) -> String {
    let scale =
        |bytes: u64| (u128::from(bytes) * u128::from(BAR)).div_ceil(u128::from(largest.max(1)));
    let whole = scale(size) as usize;
    let hidden = (scale(wasted) as usize).min(whole);
    "█".repeat(whole - hidden) + &"░".repeat(hidden)
}

/// The files that hide most, whichever layer they are in.
fn hidden(layers: &[ExplainedLayer]) -> String {
    let mut all: Vec<_> = layers
        .iter()
        .enumerate()
        .flat_map(|(index, layer)| layer.changes.iter().map(move |change| (index + 1, change)))
        .filter(|(_, change)| change.hidden > 0)
        .collect();
    if all.is_empty() {
        return String::new();
    }
    all.sort_by_key(|(_, change)| std::cmp::Reverse(change.hidden));
    all.truncate(MOST_HIDDEN);
    let mut cells = vec![["HIDDEN", "BY LAYER", "WHICH", "PATH"].map(str::to_owned).to_vec()];
    for (layer, change) in all {
        let which = match change.act.as_str() {
            "D" => "removes it",
            "T" => "stores it again for its metadata",
            _ => "has another",
        };
        cells.push(vec![
            size(change.hidden),
            layer.to_string(),
            which.to_owned(),
            human::printable(&change.path),
        ]);
    }
    format!("\n{}", table::render(&cells))
}

/// Every change of every layer, one line each.
fn files(explained: &Explained) -> String {
    let mut out = String::new();
    for (index, layer) in explained.layers.iter().enumerate() {
        _ = writeln!(out, "layer {}: {}  {}", index + 1, size(layer.size), instruction(layer));
        for change in &layer.changes {
            let bytes = if change.act == "D" { change.hidden } else { change.size };
            let path = human::printable(&change.path);
            _ = writeln!(out, "{} {:>8} {path}", change.act, size(bytes));
        }
    }
    out
}

/// `image ls --tree`.
pub(crate) async fn tree(client: &Client, args: &ImagesArgs) -> Result<i32> {
    let odd =
        [("--digests", args.digests), ("--format", args.format.is_some()), ("--quiet", args.quiet)];
    if let Some((option, _)) = odd.iter().find(|(_, given)| *given) {
        return Err(Error::Usage(format!("--tree shows layers: it does not go with {option}")));
    }
    let filters = images::wanted(args)?;
    let query = encode(&filters.to_json());
    let images: Vec<Summary> =
        client.get(&format!("/images/json?manifests=1&filters={query}")).await?;
    let of_platforms = platforms::tree(&images, args.no_trunc);
    if !of_platforms.is_empty() {
        println!("{of_platforms}");
    }
    let mut layers: Vec<Layer> = client.get("/dhow/layers").await?;
    if !filters.is_empty() {
        let names = images.iter().flat_map(|image| match &image.repo_tags[..] {
            [] => std::slice::from_ref(&image.id),
            names => names,
        });
        layers = of_images(layers, &names.map(String::as_str).collect());
    }
    print!("{}", draw(&layers, args.no_trunc));
    Ok(0)
}

/// The layers that these images consist of.
fn of_images(mut layers: Vec<Layer>, names: &BTreeSet<&str>) -> Vec<Layer> {
    for layer in &mut layers {
        layer.images.retain(|name| names.contains(name.as_str()));
    }
    let parents: BTreeMap<&str, &str> =
        layers.iter().map(|layer| (layer.chain.as_str(), layer.parent.as_str())).collect();
    let mut wanted = BTreeSet::new();
    for layer in layers.iter().filter(|layer| !layer.images.is_empty()) {
        let mut at = Some(layer.chain.as_str());
        while let Some(chain) = at.filter(|chain| wanted.insert((*chain).to_owned())) {
            at = parents.get(chain).copied().filter(|parent| !parent.is_empty());
        }
    }
    layers.retain(|layer| wanted.contains(&layer.chain));
    layers
}

/// The layers as a tree, each below the one that it lies on.
fn draw(layers: &[Layer], whole: bool) -> String {
    let known: BTreeMap<&str, &Layer> =
        layers.iter().map(|layer| (layer.chain.as_str(), layer)).collect();
    let mut above: BTreeMap<&str, Vec<&Layer>> = BTreeMap::new();
    for layer in layers {
        // One whose parent is not there stands alone.
        let parent = known.get_key_value(layer.parent.as_str()).map_or("", |(chain, _)| *chain);
        above.entry(parent).or_default().push(layer);
    }
    let mut cells =
        vec![["LAYER", "SIZE", "WITH THOSE BELOW", "IMAGES"].map(str::to_owned).to_vec()];
    // Not by recursion: a chain may be long.
    let mut stack: Vec<(&Layer, String, u64, bool, bool)> = Vec::new();
    let push = |stack: &mut Vec<_>, of: &str, indent: &str, sum: u64, root: bool| {
        let children = above.get(of).map(Vec::as_slice).unwrap_or_default();
        for (index, child) in children.iter().enumerate().rev() {
            stack.push((*child, indent.to_owned(), sum, index + 1 == children.len(), root));
        }
    };
    push(&mut stack, "", "", 0, true);
    while let Some((layer, indent, sum, last, root)) = stack.pop() {
        let (branch, below) = match (root, last) {
            (true, _) => ("", ""),
            (false, true) => ("└─ ", "   "),
            (false, false) => ("├─ ", "│  "),
        };
        let hex = layer.chain.rsplit(':').next().unwrap_or(&layer.chain);
        let id = if whole { hex } else { hex.get(..12).unwrap_or(hex) };
        let sum = sum.saturating_add(layer.size);
        cells.push(vec![
            format!("{indent}{branch}{id}"),
            size(layer.size),
            size(sum),
            human::printable(&layer.images.join(", ")),
        ]);
        push(&mut stack, &layer.chain, &format!("{indent}{below}"), sum, false);
    }
    let total = layers.iter().map(|layer| layer.size).sum::<u64>();
    let mut out: String =
        table::render(&cells).lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    _ = writeln!(out, "\n{} layers, {}", layers.len(), size(total));
    out
}

#[cfg(test)]
mod tests {
    use docker::dhow::FileChange;

    use super::*;

    #[test]
    fn layers_are_drawn_below_those_they_lie_on() {
        let layer = |chain: &str, parent: &str, size, images: &[&str]| Layer {
            chain: format!("sha256:{chain}"),
            parent: if parent.is_empty() { String::new() } else { format!("sha256:{parent}") },
            size,
            images: images.iter().map(|name| (*name).to_owned()).collect(),
        };
        let layers = [
            layer("aa", "", 1000, &["base:1", "base:latest"]),
            layer("bb", "aa", 20, &[]),
            layer("cc", "bb", 3, &["web:1"]),
            layer("dd", "aa", 4, &["db:1"]),
            layer("ee", "zz", 5, &["lost:1"]),
        ];
        expect_test::expect![[r"
            LAYER      SIZE      WITH THOSE BELOW   IMAGES
            aa         1kB       1kB                base:1, base:latest
            ├─ bb      20B       1.02kB
            │  └─ cc   3B        1.02kB             web:1
            └─ dd      4B        1kB                db:1
            ee         5B        5B                 lost:1

            5 layers, 1.03kB
        "]]
        .assert_eq(&draw(&layers, true));
    }

    #[test]
    fn some_images_have_some_of_the_layers() {
        let layer = |chain: &str, parent: &str, images: &[&str]| Layer {
            chain: chain.into(),
            parent: parent.into(),
            size: 1,
            images: images.iter().map(|name| (*name).to_owned()).collect(),
        };
        let all = vec![
            layer("a", "", &["base:1"]),
            layer("b", "a", &["web:1", "web:2"]),
            layer("c", "a", &["db:1"]),
            layer("d", "lost", &["web:2"]),
        ];
        let found = of_images(all, &BTreeSet::from(["web:2"]));
        let found: Vec<_> = found.iter().map(|one| (one.chain.as_str(), &one.images[..])).collect();
        let web = &["web:2".to_owned()][..];
        assert_eq!(found, [("a", &[][..]), ("b", web), ("d", web)]);
    }

    #[test]
    fn what_is_hidden_is_told_with_who_hides_it() {
        let change = |act: &str, path: &str, size, hidden| FileChange {
            act: act.to_owned(),
            path: path.to_owned(),
            size,
            hidden,
        };
        let explained = Explained {
            id: "sha256:1".into(),
            repo_tags: vec!["app:1".into()],
            layers: vec![
                ExplainedLayer {
                    size: 3000,
                    wasted: 1500,
                    added: Tally { files: 3, bytes: 3000 },
                    created_by: "ADD rootfs.tar /".into(),
                    ..ExplainedLayer::default()
                },
                ExplainedLayer {
                    size: 500,
                    touched: Tally { files: 1, bytes: 500 },
                    removed: Tally { files: 1, bytes: 1000 },
                    created_by: "RUN chown".into(),
                    changes: vec![change("T", "/a", 500, 500), change("D", "/b\u{1b}", 0, 1000)],
                    ..ExplainedLayer::default()
                },
            ],
        };
        expect_test::expect![[r"
            app:1: 3.5kB in 2 layers, of which 1.5kB (42.9%) are stored and hidden by later layers

            LAYER                                SIZE      WASTED    ADDED     CHANGED   TOUCHED    REMOVED   CREATED BY
            1         ████████████░░░░░░░░░░░░   3kB       1.5kB     3 (3kB)   -         -          -         ADD rootfs.tar /
            2         ████                       500B      -         -         -         1 (500B)   1 (1kB)   RUN chown

            HIDDEN    BY LAYER   WHICH                              PATH
            1kB       2          removes it                         /b 
            500B      2          stores it again for its metadata   /a
        "]].assert_eq(&summary(&explained, true));
    }
}
