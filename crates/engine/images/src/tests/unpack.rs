//! Layers of one chain that are unpacked at once.

use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use oci::{ChainId, DiffId};

use super::*;
use crate::unpack::Source;

/// A chain whose layers come when the test says so.
struct Chain {
    layers: Vec<Vec<u8>>,
    gates: Vec<Mutex<Receiver<()>>>,
    opened: Mutex<Sender<usize>>,
    placed: Mutex<Vec<usize>>,
}

impl Chain {
    /// With what opens each, and the numbers of those that somebody waits for.
    fn new(layers: Vec<Vec<u8>>) -> (Self, Vec<Sender<()>>, Receiver<usize>) {
        let (keys, gates) = layers.iter().map(|_| channel()).unzip();
        let gates: Vec<_> = Vec::into_iter(gates).map(Mutex::new).collect();
        let (opened, waiting) = channel();
        (
            Self { layers, gates, opened: Mutex::new(opened), placed: Mutex::default() },
            keys,
            waiting,
        )
    }

    fn diffs(&self) -> Vec<DiffId> {
        self.layers.iter().map(|layer| DiffId(Digest::sha256(layer))).collect()
    }

    fn unpack(&self, home: &Home) -> Result<u64, Error> {
        let diffs = self.diffs();
        home.images.unpack_chain(&ChainId::chain(&diffs), &diffs, self)
    }

    fn is_there(&self, home: &Home) -> Vec<bool> {
        let chain = ChainId::chain(&self.diffs());
        chain.iter().map(|layer| home.images.snapshots.has_layer(layer).unwrap()).collect()
    }
}

impl Source for Chain {
    fn open(&self, layer_idx: usize) -> Result<Box<dyn Read + Send + '_>, Error> {
        self.opened.lock().unwrap().send(layer_idx).unwrap();
        // A sender that is gone is a source that fails.
        let came = self.gates[layer_idx].lock().unwrap().recv();
        came.map_err(|_| Error::Invalid(format!("layer {layer_idx} does not come")))?;
        Ok(Box::new(self.layers[layer_idx].as_slice()))
    }

    fn placed(&self, layer_idx: usize) -> Result<(), Error> {
        self.placed.lock().unwrap().push(layer_idx);
        Ok(())
    }
}

/// An archive with the directory `name`, of this mode, and nothing else.
fn directory(name: &str, mode: u32) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let path = name.as_bytes().to_vec();
    let entry = Entry { path, kind: Kind::Directory, mode, ..Entry::default() };
    writer.append(&entry, &mut std::io::empty()).unwrap();
    writer.finish().unwrap()
}

#[test]
fn layers_are_unpacked_at_once_and_placed_in_order() {
    let home = Home::new("at-once");
    let layers = vec![tar(&[("a", "1")]), tar(&[("b", "2")]), tar(&[("c", "3")])];
    let (chain, keys, waiting) = Chain::new(layers);
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| chain.unpack(&home));
        // All wait at once: none has to be done with for the next one to begin.
        let mut begun: Vec<_> = (0..3).map(|_| waiting.recv().unwrap()).collect();
        begun.sort_unstable();
        assert_eq!(begun, [0, 1, 2]);
        keys[2].send(()).unwrap();
        keys[1].send(()).unwrap();
        assert_eq!(chain.is_there(&home), [false; 3], "nothing is above a hole");
        keys[0].send(()).unwrap();
        assert_eq!(unpacking.join().unwrap().unwrap(), 3, "bytes of all files");
    });
    assert_eq!(*chain.placed.lock().unwrap(), [0, 1, 2]);
    assert_eq!(chain.is_there(&home), [true; 3]);
}

#[test]
fn what_an_archive_does_not_mention_looks_as_in_layers_that_come_later() {
    let home = Home::new("later-below");
    let (chain, keys, waiting) = Chain::new(vec![
        directory("kept", 0o711),
        tar(&[("kept/file", "x")]),
        directory("./", 0o750),
        tar(&[("y", "")]),
    ]);
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| chain.unpack(&home));
        for _ in 0..4 {
            waiting.recv().unwrap();
        }
        for key in keys.iter().rev() {
            key.send(()).unwrap();
        }
        unpacking.join().unwrap().unwrap();
    });
    let paths = home.images.snapshots.layer_paths(&ChainId::chain(&chain.diffs()));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(paths[1].join("kept")), 0o711, "a parent");
    assert_eq!(mode(paths[1].clone()), 0o755, "a root that nobody mentions");
    assert_eq!(mode(paths[3].clone()), 0o750, "a root that the layer below mentions");
}

#[test]
fn a_layer_that_fails_leaves_those_below_it_and_is_the_reason() {
    let home = Home::new("fails-between");
    let layers = vec![tar(&[("a", "1")]), tar(&[("b", "2")]), tar(&[("c/d", "3")])];
    let (chain, mut keys, waiting) = Chain::new(layers);
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| chain.unpack(&home));
        for _ in 0..3 {
            waiting.recv().unwrap();
        }
        // The topmost waits for those below, and the one between never comes.
        keys[2].send(()).unwrap();
        drop(keys.remove(1));
        keys[0].send(()).unwrap();
        let error = unpacking.join().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "layer 1 does not come");
    });
    assert_eq!(chain.is_there(&home), [true, false, false]);
    home.images.snapshots.sweep().unwrap();
    assert_eq!(fs::read_dir(home.path.join("snapshots/new")).unwrap().count(), 0);
}
