//! Racing with the runtime: what it works on is exchanged for something else, all the time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};

/// A thread that exchanges two names for each other, as fast as the kernel can.
pub(crate) struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    names: (PathBuf, PathBuf),
    first: (u64, u64),
}

/// What is at a name, whatever it is.
fn identity(path: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).map_or((0, 0), |stat| (stat.dev(), stat.ino()))
}

impl Swapper {
    /// Both names must be there, in one file system.
    pub(crate) fn start(a: &Path, b: &Path) -> Self {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let names = (a.to_owned(), b.to_owned());
        let first = identity(a);
        let thread = std::thread::spawn({
            let (stop, swaps, (a, b)) = (Arc::clone(&stop), Arc::clone(&swaps), names.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        Self { stop, swaps, thread: Some(thread), names, first }
    }

    /// How often so far.
    pub(crate) fn swaps(&self) -> u64 {
        self.swaps.load(Ordering::Relaxed)
    }
}

impl Drop for Swapper {
    /// Leaves the names as they were.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
        let (a, b) = &self.names;
        if identity(a) != self.first {
            let _gone = rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
        }
    }
}

/// How long an attack goes on.
fn budget() -> Duration {
    let seconds = std::env::var("DHOW_RACE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(1.5))
}

/// Does `round` again and again while `swappers` are at work: at least 10 times, and until the time
/// is over.
pub(crate) fn race(what: &str, swappers: &[Swapper], mut round: impl FnMut(usize)) {
    let end = Instant::now() + budget();
    let mut rounds = 0;
    while rounds < 10 || Instant::now() < end {
        round(rounds);
        rounds += 1;
    }
    let swaps: u64 = swappers.iter().map(Swapper::swaps).sum();
    println!("{what}: {rounds} rounds, {swaps} swaps");
    assert!(swaps > 0, "{what}: nothing was ever swapped");
}

/// Does `step(true)` while two names are exchanged and then, with both where they were at first,
/// `step(false)`: until the time is over.
pub(crate) fn at_rest(what: &str, names: (&Path, &Path), mut step: impl FnMut(bool)) {
    let end = Instant::now() + budget();
    let mut rounds = 0;
    while rounds < 10 || Instant::now() < end {
        let swapper = Swapper::start(names.0, names.1);
        while swapper.swaps() == 0 {
            std::thread::yield_now();
        }
        step(true);
        drop(swapper);
        step(false);
        rounds += 1;
    }
    println!("{what}: {rounds} rounds");
}
