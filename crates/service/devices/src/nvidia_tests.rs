use std::os::unix::fs::symlink;

use super::*;

/// The files of a machine that has a driver: a folder that is its root.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("dhow-nvidia-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Self(root)
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn gpu(&self, address: &str, minor: &str, uuid: &str) {
        let text = format!(
            "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 512\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\nGPU Excluded:\t No\n"
        );
        self.file(&format!("proc/driver/nvidia/gpus/{address}/information"), &text);
        self.file(&format!("dev/nvidia{minor}"), "");
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn nodes(document: &Document, name: &str) -> Vec<String> {
    let device = document.devices.iter().find(|device| device.name == name).unwrap();
    device.container_edits.device_nodes.iter().map(|node| node.path.clone()).collect()
}

#[test]
fn gpus_libraries_and_programs_are_found() {
    let fake = Fake::new("whole");
    fake.file("sys/module/nvidia/version", "550.54.15\n");
    // The second slot has the first device file.
    fake.gpu("0000:b1:00.0", "0", "GPU-b");
    fake.gpu("0000:3b:00.0", "1", "GPU-a");
    fake.file("sys/bus/pci/devices/0000:3b:00.0/drm/renderD128/dev", "");
    fake.file("dev/dri/renderD128", "");
    fake.file("dev/nvidiactl", "");
    fake.file("dev/nvidia-uvm", "");
    let folder = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    fake.file(&format!("{folder}/libcuda.so.550.54.15"), "");
    symlink("libcuda.so.550.54.15", fake.0.join(&folder).join("libcuda.so.1")).unwrap();
    symlink("libcuda.so.1", fake.0.join(&folder).join("libcuda.so")).unwrap();
    fake.file(&format!("{folder}/libcuda.so.470.1"), "of an older driver");
    fake.file(&format!("{folder}/libm.so.6"), "");
    symlink("/etc/passwd", fake.0.join(&folder).join("libevil.so.550.54.15")).unwrap();
    symlink("usr/lib", fake.0.join("lib")).unwrap();
    fake.file("etc/ld.so.conf.d/more.conf", "# a comment\n/opt/more\n/lib\n");
    fake.file("opt/more/libnvidia-extra.so.550.54.15", "");
    fake.file("usr/bin/nvidia-smi", "");
    fake.file("lib/firmware/nvidia/550.54.15/gsp_ga10x.bin", "");
    fake.file("run/nvidia-persistenced/socket", "");

    let document = specification(&fake.0).unwrap();
    let names: Vec<_> = document.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["0", "GPU-a", "1", "GPU-b", "all"]);
    assert_eq!(nodes(&document, "0"), ["/dev/nvidia1", "/dev/dri/renderD128"]);
    assert_eq!(nodes(&document, "GPU-b"), ["/dev/nvidia0"]);
    assert_eq!(nodes(&document, "all"), ["/dev/nvidia1", "/dev/dri/renderD128", "/dev/nvidia0"]);
    let common = &document.container_edits;
    let control: Vec<_> = common.device_nodes.iter().map(|node| node.path.as_str()).collect();
    assert_eq!(control, ["/dev/nvidiactl", "/dev/nvidia-uvm"]);
    assert!(common.hooks.is_empty(), "nothing runs");

    let root = fake.0.display().to_string();
    let inside: Vec<_> = common
        .mounts
        .iter()
        .map(|mount| {
            let source = mount.host_path.strip_prefix(&root).unwrap();
            (mount.container_path.as_str(), source.to_owned())
        })
        .collect();
    let cuda = format!("/{folder}/libcuda.so.550.54.15");
    let extra = "/opt/more/libnvidia-extra.so.550.54.15".to_owned();
    let home = format!("/{folder}");
    let mut want = Vec::new();
    let places: Vec<String> = [home.as_str(), "/usr/lib64"]
        .iter()
        .flat_map(|home| {
            ["libcuda.so", "libcuda.so.1", "libcuda.so.550.54.15", "libnvidia-extra.so.550.54.15"]
                .map(|name| format!("{home}/{name}"))
        })
        .collect();
    for place in &places {
        let source = if place.contains("extra") { extra.clone() } else { cuda.clone() };
        want.push((place.as_str(), source));
    }
    for path in
        ["/usr/bin/nvidia-smi", "/lib/firmware/nvidia/550.54.15", "/run/nvidia-persistenced/socket"]
    {
        want.push((path, path.to_owned()));
    }
    assert_eq!(inside, want);
    assert_eq!(Document::parse(&document.print(), cdi::Syntax::Json).unwrap(), document);
}

#[test]
fn a_machine_without_driver_or_gpu_is_told_so() {
    let fake = Fake::new("none");
    let why = |fake: &Fake| specification(&fake.0).unwrap_err().to_string();
    assert!(why(&fake).starts_with("no driver of NVIDIA is loaded"));
    fake.file("sys/module/nvidia/version", "550.54.15\n");
    assert_eq!(why(&fake), "NVIDIA's driver serves no GPU here");
    fake.gpu("0000:3b:00.0", "0", "GPU-a");
    fs::remove_file(fake.0.join("dev/nvidia0")).unwrap();
    fake.file("usr/lib64/libcuda.so.550.54.15", "");
    assert_eq!(why(&fake), "the GPU at 0000:3b:00.0 has no device file /dev/nvidia0");
    fake.file("dev/nvidia0", "");
    assert!(specification(&fake.0).is_ok());
    fs::remove_file(fake.0.join("usr/lib64/libcuda.so.550.54.15")).unwrap();
    assert!(why(&fake).contains("libraries of NVIDIA's driver 550.54.15"));
}
