//! The folders of specifications.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use cdi::{Catalog, DeviceFile, Document, FileKind, Syntax};

/// The most that is read of a file, bytes: one more than a specification may have.
const MAX_BYTES: u64 = (8 << 20) + 1;

/// What the folders of a machine hold.
#[derive(Debug, Default)]
pub struct Specifications {
    /// The devices that can be had.
    pub catalog: Catalog,
    /// The files that cannot be read, and the devices that two files have: they do not disturb the
    /// others.
    pub problems: Vec<Problem>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder.
    pub path: String,
    /// Why.
    pub why: String,
}

impl Specifications {
    /// Reads the specifications (`*.json`, `*.yaml`) in `folders`; a later folder's devices are
    /// meant before those of the same name in an earlier one. A folder that is not there is empty.
    pub fn load(folders: &[PathBuf]) -> Self {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for (rank, folder) in folders.iter().enumerate() {
            let mut problem = |path: &Path, why: String| {
                problems.push(Problem { path: path.display().to_string(), why });
            };
            let paths = match listed(folder) {
                Ok(paths) => paths,
                Err(err) => {
                    problem(folder, err.to_string());
                    continue;
                }
            };
            for (path, syntax) in paths {
                match read(&path, syntax) {
                    Ok(document) => {
                        files.push(cdi::File { path: path.display().to_string(), rank, document });
                    }
                    Err(why) => problem(&path, why),
                }
            }
        }
        let catalog = Catalog::new(files);
        problems.extend(catalog.conflicts().map(|conflict| {
            let path = match &conflict {
                cdi::Error::Conflict { second, .. } => second.clone(),
                _ => String::new(),
            };
            Problem { path, why: conflict.to_string() }
        }));
        Self { catalog, problems }
    }
}

/// The specifications in a folder, sorted by name. Folders in it are not looked into.
fn listed(folder: &Path) -> io::Result<Vec<(PathBuf, Syntax)>> {
    let mut paths = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(paths),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let syntax = match path.extension().and_then(|end| end.to_str()) {
            Some("json") => Syntax::Json,
            Some("yaml") => Syntax::Yaml,
            _ => continue,
        };
        if !path.is_dir() {
            paths.push((path, syntax));
        }
    }
    paths.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(paths)
}

fn read(path: &Path, syntax: Syntax) -> Result<Document, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
        .map_err(|err| err.to_string())?;
    Document::parse(&text, syntax).map_err(|err| err.to_string())
}

/// What the device file at `path` of this machine is; the error says in words why it is none.
pub fn look(path: &str) -> Result<DeviceFile, String> {
    let meta = fs::metadata(path).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => err.to_string(),
    })?;
    let file = meta.file_type();
    let kind = if file.is_char_device() {
        FileKind::Char
    } else if file.is_block_device() {
        FileKind::Block
    } else if file.is_fifo() {
        FileKind::Fifo
    } else {
        return Err("not a device file".to_owned());
    };
    let (major, minor) = match kind {
        FileKind::Fifo => (0, 0),
        _ => (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev())),
    };
    Ok(DeviceFile { kind, major, minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_told_of_and_does_not_disturb_the_others() {
        let place = std::env::temp_dir().join(format!("dhow-cdi-{}", std::process::id()));
        let (etc, run) = (place.join("etc"), place.join("run"));
        fs::create_dir_all(etc.join("folder.json")).unwrap();
        fs::create_dir_all(&run).unwrap();
        let file = |folder: &Path, name: &str, mark: &str| {
            let text = format!(
                "cdiVersion: 0.6.0\nkind: a.b/c\ndevices:\n- name: d{mark}\n  containerEdits:\n    env: [\"A={mark}\"]\n"
            );
            fs::write(folder.join(name), text).unwrap();
        };
        file(&etc, "one.yaml", "1");
        file(&etc, "two.yaml", "2");
        file(&etc, "also-two.yaml", "2");
        file(&etc, "not-read.yml", "3");
        file(&etc, "bad.json", "4");
        file(&run, "one.yaml", "1");
        std::os::unix::fs::symlink("nowhere", run.join("broken.json")).unwrap();

        let all = Specifications::load(&[etc.clone(), place.join("none"), run.clone()]);
        let names: Vec<_> = all
            .catalog
            .entries()
            .map(|(name, entry)| format!("{name} {}", entry.file.path))
            .collect();
        assert_eq!(names, [format!("a.b/c=d1 {}", run.join("one.yaml").display())]);
        let problems: Vec<_> = all.problems.iter().map(|one| one.path.as_str()).collect();
        let shown = |path: PathBuf| path.display().to_string();
        assert_eq!(
            problems,
            [
                shown(etc.join("bad.json")),
                shown(run.join("broken.json")),
                shown(etc.join("two.yaml"))
            ]
        );
        assert!(all.problems[2].why.contains("conflicting CDI device a.b/c=d2"));
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn device_files_of_the_machine() {
        let null = look("/dev/null").unwrap();
        assert_eq!((null.kind, null.major, null.minor), (FileKind::Char, 1, 3));
        assert_eq!(look("/dev/nope").unwrap_err(), "no such file or directory");
        assert_eq!(look("/etc/passwd").unwrap_err(), "not a device file");
    }
}
