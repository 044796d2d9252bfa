//! What a container needs for NVIDIA's GPUs, found on the machine.
//!
//! The driver's device files, its libraries and programs. NVIDIA's own toolkit has a hook make links
//! and run `ldconfig` in the container's root, as root of the host: three of its published holes were
//! there. Here no program runs. Every library is mounted under each name that the host has for it, in
//! the folder where Debian's loader looks without a cache and in the one where others' do, so images
//! of either family find them.
//!
//! What is not looked for: MIG slices, 32-bit libraries, the files of X.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cdi::{Device, DeviceNode, Document, Edits, Mount};

use crate::Error;
use crate::error::At as _;

/// The kind that NVIDIA's own specifications have.
pub const KIND: &str = "nvidia.com/gpu";
/// The first version that lets a device be called `0`.
const CDI_VERSION: &str = "0.5.0";

/// Device files that every GPU needs, where they are.
const CONTROL: [&str; 4] =
    ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"];
const PROGRAMS: [&str; 6] = [
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
    "nvidia-imex-ctl",
];
const PROGRAM_FOLDERS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/opt/bin", "/usr/local/bin"];
/// Of the driver's services.
const SOCKETS: [&str; 3] = [
    "/run/nvidia-persistenced/socket",
    "/run/nvidia-fabricmanager/socket",
    "/run/nvidia-imex/socket",
];
/// Which say to Vulkan, EGL and `OpenCL` that there is a driver.
const REGISTRATIONS: [&str; 8] = [
    "/usr/share/vulkan/icd.d/nvidia_icd.json",
    "/etc/vulkan/icd.d/nvidia_icd.json",
    "/usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
    "/etc/vulkan/implicit_layer.d/nvidia_layers.json",
    "/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
    "/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
    "/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
    "/etc/OpenCL/vendors/nvidia.icd",
];
const READ_ONLY: [&str; 5] = ["ro", "nosuid", "nodev", "rbind", "rprivate"];
const SOCKET: [&str; 5] = ["nosuid", "nodev", "noexec", "rbind", "rprivate"];

/// One GPU.
#[derive(Debug)]
struct Gpu {
    /// `0000:3b:00.0`.
    address: String,
    /// `GPU-…`.
    uuid: String,
    /// The number in `/dev/nvidiaN`.
    minor: u32,
}

/// The specification for the GPUs of a machine whose root is at `root` (`/`, or where a container
/// with the driver has it). Paths in it are those of the host: below `root` for what is mounted.
///
/// # Errors
/// There is no driver, or no GPU that it serves.
pub fn specification(root: &Path) -> Result<Document, Error> {
    let machine = Machine { root };
    let version = machine.driver_version()?;
    let gpus = machine.gpus()?;
    let mut common = Edits {
        // For NVIDIA's own hook, should it also be there: it is to do nothing.
        env: vec!["NVIDIA_VISIBLE_DEVICES=void".into()],
        device_nodes: CONTROL.iter().filter_map(|path| machine.node(path)).collect(),
        ..Edits::default()
    };
    machine.libraries(&version, &mut common.mounts)?;
    if common.mounts.is_empty() {
        return Err(Error::Nothing(format!(
            "the libraries of NVIDIA's driver {version} are not in any folder of the loader"
        )));
    }
    machine.other_files(&version, &mut common.mounts);
    let mut devices = Vec::new();
    let mut all = Vec::new();
    for (index, gpu) in gpus.iter().enumerate() {
        let nodes = machine.nodes_of(gpu)?;
        for name in [index.to_string(), gpu.uuid.clone()] {
            let edits = Edits { device_nodes: nodes.clone(), ..Edits::default() };
            if !name.is_empty() {
                devices.push(Device { name, container_edits: edits, ..Device::default() });
            }
        }
        all.extend(nodes);
    }
    let edits = Edits { device_nodes: all, ..Edits::default() };
    devices.push(Device { name: "all".into(), container_edits: edits, ..Device::default() });
    let document = Document {
        cdi_version: CDI_VERSION.into(),
        kind: KIND.into(),
        devices,
        container_edits: common,
        ..Document::default()
    };
    document.check()?;
    Ok(document)
}

struct Machine<'a> {
    root: &'a Path,
}

impl Machine<'_> {
    /// A path of the machine, where it is for us.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The driver's version: `550.54.15`. Open and closed drivers have it in the same places.
    fn driver_version(&self) -> Result<String, Error> {
        let nothing = || {
            Error::Nothing(
                "no driver of NVIDIA is loaded: there is no /sys/module/nvidia/version".to_owned(),
            )
        };
        let path = self.at("/sys/module/nvidia/version");
        let text = match fs::read_to_string(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Err(nothing()),
            text => text.at("read", &path)?,
        };
        let version = text.trim();
        let well_formed = !version.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if well_formed { Ok(version.to_owned()) } else { Err(nothing()) }
    }

    /// The GPUs in the order of their addresses, which is how CUDA and `nvidia-smi` number them.
    fn gpus(&self) -> Result<Vec<Gpu>, Error> {
        let folder = self.at("/proc/driver/nvidia/gpus");
        let nothing = || Error::Nothing("NVIDIA's driver serves no GPU here".to_owned());
        let entries = match fs::read_dir(&folder) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Err(nothing()),
            entries => entries.at("read", &folder)?,
        };
        let mut gpus = Vec::new();
        for entry in entries {
            let entry = entry.at("read", &folder)?;
            let path = entry.path().join("information");
            let text = fs::read_to_string(&path).at("read", &path)?;
            let field = |name: &str| {
                let value =
                    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                value.unwrap_or_default().trim().to_owned()
            };
            // A GPU that the driver has no device file for (excluded by an option) is passed over.
            let Ok(minor) = field("Device Minor").parse() else { continue };
            let address = entry.file_name().to_string_lossy().into_owned();
            gpus.push(Gpu { address, uuid: field("GPU UUID"), minor });
        }
        gpus.sort_by(|one, other| one.address.cmp(&other.address));
        if gpus.is_empty() { Err(nothing()) } else { Ok(gpus) }
    }

    fn node(&self, path: &str) -> Option<DeviceNode> {
        self.exists(path).then(|| DeviceNode { path: path.into(), ..DeviceNode::default() })
    }

    /// A GPU's own device files: of the driver, and of the kernel's graphics.
    fn nodes_of(&self, gpu: &Gpu) -> Result<Vec<DeviceNode>, Error> {
        let path = format!("/dev/nvidia{}", gpu.minor);
        let mut nodes = vec![self.node(&path).ok_or_else(|| {
            Error::Nothing(format!("the GPU at {} has no device file {path}", gpu.address))
        })?];
        let drm = self.at(&format!("/sys/bus/pci/devices/{}/drm", gpu.address));
        let mut names: Vec<String> = fs::read_dir(&drm)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with("card") || name.starts_with("renderD"))
            .collect();
        names.sort();
        nodes.extend(names.iter().filter_map(|name| self.node(&format!("/dev/dri/{name}"))));
        Ok(nodes)
    }

    /// Mounts of the driver's libraries (`lib*.so.VERSION`), under all names that they have here.
    fn libraries(&self, version: &str, mounts: &mut Vec<Mount>) -> Result<(), Error> {
        let triplet = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let homes = [triplet.as_str(), "/usr/lib64"];
        let end = format!(".so.{version}");
        // Container path to host path: the first folder that has a name counts.
        let mut found: BTreeMap<String, String> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for folder in self.library_folders(&homes)? {
            // `/lib` is `/usr/lib` under another name.
            let Ok(real) = fs::canonicalize(self.at(&folder)) else { continue };
            if !seen.insert(real.clone()) {
                continue;
            }
            for (name, file) in names_of_libraries(&real, &end)? {
                let source = format!("{}/{file}", folder.trim_end_matches('/'));
                for home in homes {
                    found.entry(format!("{home}/{name}")).or_insert_with(|| source.clone());
                }
            }
        }
        mounts.extend(found.iter().map(|(inside, source)| self.mount(source, inside, &READ_ONLY)));
        Ok(())
    }

    /// Where the loader looks for libraries: what `ld.so.conf` says, and its own defaults.
    fn library_folders(&self, homes: &[&str]) -> Result<Vec<String>, Error> {
        let mut folders: Vec<String> = homes.iter().map(|&home| home.to_owned()).collect();
        let mut files = vec![self.at("/etc/ld.so.conf")];
        let more = self.at("/etc/ld.so.conf.d");
        let mut included: Vec<PathBuf> = fs::read_dir(&more)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "conf"))
            .collect();
        included.sort();
        files.extend(included);
        for file in files {
            let text = match fs::read_to_string(&file) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                text => text.at("read", &file)?,
            };
            let lines = text.lines().map(str::trim).filter(|line| line.starts_with('/'));
            folders.extend(lines.map(str::to_owned));
        }
        folders.extend(["/usr/lib", "/lib64", "/usr/local/nvidia/lib64"].map(str::to_owned));
        Ok(folders)
    }

    /// Programs, sockets, firmware, and the files that tell others of the driver.
    fn other_files(&self, version: &str, mounts: &mut Vec<Mount>) {
        for program in PROGRAMS {
            let mut paths = PROGRAM_FOLDERS.iter().map(|folder| format!("{folder}/{program}"));
            if let Some(path) = paths.find(|path| self.exists(path)) {
                mounts.push(self.mount(&path, &format!("/usr/bin/{program}"), &READ_ONLY));
            }
        }
        let firmware = format!("/lib/firmware/nvidia/{version}");
        let files = REGISTRATIONS.iter().copied().chain([firmware.as_str()]);
        for path in files.filter(|path| self.exists(path)) {
            mounts.push(self.mount(path, path, &READ_ONLY));
        }
        for path in SOCKETS.iter().filter(|path| self.exists(path)) {
            mounts.push(self.mount(path, path, &SOCKET));
        }
    }

    fn mount(&self, source: &str, inside: &str, options: &[&str]) -> Mount {
        Mount {
            host_path: self.at(source).to_string_lossy().into_owned(),
            container_path: inside.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            kind: String::new(),
        }
    }
}

/// The libraries in a folder whose names end in `end`, each under all its names: its own and those
/// of links beside it. Gives the name and the library's file.
fn names_of_libraries(folder: &Path, end: &str) -> Result<Vec<(String, String)>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).at("read", folder)? {
        let entry = entry.at("read", folder)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with("lib") || !name.contains(".so") {
            continue;
        }
        let Ok(real) = fs::canonicalize(entry.path()) else { continue };
        let file = real.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if real.parent() == Some(folder) && file.ends_with(end) && real.is_file() {
            names.push((name, file.to_owned()));
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
#[path = "nvidia_tests.rs"]
mod tests;
