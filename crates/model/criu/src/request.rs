//! What is said to criu.

use crate::Kind;
use crate::wire::Writer;

/// What criu does with cgroups: `criu_cg_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// Nothing: the processes are in the cgroup that criu is in.
    Ignore,
    /// Restores those that are not there.
    Soft,
    /// Restores them and their limits.
    Full,
    /// Refuses one that is there already.
    Strict,
    /// Whatever criu thinks is best, which is `soft`.
    #[default]
    Default,
}

impl CgroupMode {
    fn number(self) -> u64 {
        match self {
            Self::Ignore => 0,
            Self::Soft => 3,
            Self::Full => 4,
            Self::Strict => 5,
            Self::Default => 6,
        }
    }
}

/// A mount that criu leaves to the caller. When it saves: the mount point, and the name by which it
/// is known. When it restores: that name, and what to bind there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The mount point, or the name.
    pub key: String,
    /// The name, or the file of the host.
    pub value: String,
}

/// A descriptor that takes the place of one that was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InheritFd {
    /// What was saved: `pipe:[INODE]`, or a name.
    pub key: String,
    /// Its number in criu's process.
    pub fd: i32,
}

/// A namespace that is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinNamespace {
    /// `uts`, `ipc` and so on.
    pub kind: String,
    /// Its file.
    pub path: String,
}

/// The options of a request: `criu_opts`. Descriptors are numbers in the caller's process.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are criu's")]
pub struct Options {
    /// The directory of the images.
    pub images_dir: i32,
    /// The directory of the log.
    pub work_dir: Option<i32>,
    /// The log's name in it.
    pub log_file: String,
    /// How much is logged, up to 4.
    pub log_level: i32,
    /// The first process to save.
    pub pid: Option<i32>,
    /// The root directory.
    pub root: String,
    /// The images of an earlier pre-dump, relative to these.
    pub parent: Option<String>,
    /// Mark memory that changes from now on.
    pub track_memory: bool,
    /// Let the processes go on when they are saved.
    pub leave_running: bool,
    /// Sockets of the host's are allowed.
    pub ext_unix_sk: bool,
    /// TCP connections are saved.
    pub tcp_established: bool,
    /// Connections that are not yet accepted are left out.
    pub tcp_skip_in_flight: bool,
    /// Any path that leads to a device will do.
    pub evasive_devices: bool,
    /// The session and the terminal are the caller's.
    pub shell_job: bool,
    /// File locks are saved.
    pub file_locks: bool,
    /// Deleted files are linked back.
    pub link_remap: bool,
    /// Memory that a newer image has is punched out of the older.
    pub auto_dedup: bool,
    /// Memory is sent when it is asked for.
    pub lazy_pages: bool,
    /// Gets a zero byte when the server for that is up.
    pub status_fd: Option<i32>,
    /// The address and port of the page server.
    pub page_server: Option<(String, i32)>,
    /// The restored process becomes a child of criu's parent.
    pub sibling: bool,
    /// Mounts of the host's.
    pub mounts: Vec<External>,
    /// Other things of the host's, `KIND[WHICH]:NAME`.
    pub external: Vec<String>,
    /// Descriptors to inherit.
    pub inherit: Vec<InheritFd>,
    /// Namespaces to join.
    pub join: Vec<JoinNamespace>,
    /// Namespaces that are made and not filled: `CLONE_NEW*`.
    pub empty_namespaces: u32,
    /// The cgroups.
    pub cgroups: CgroupMode,
    /// Controller (empty for v2) and the path that takes the place of the one that was saved.
    pub cgroup_roots: Vec<(String, String)>,
    /// The directory of the freezer.
    pub freezer: Option<String>,
    /// Do without a firewall while connections are looked at: criu 3.19 and later.
    pub no_network_lock: bool,
    /// A file with more options, which win over these.
    pub config_file: Option<String>,
    /// `TYPE:LABEL` for the restored processes.
    pub lsm_profile: Option<String>,
    /// The label of restored mounts.
    pub lsm_mount_context: Option<String>,
}

/// `SKIP` of `criu_network_lock_method`.
const LOCK_SKIP: u64 = 3;

impl Options {
    fn write(&self, w: &mut Writer) {
        let text = |w: &mut Writer, field, text: &Option<String>| {
            if let Some(text) = text {
                w.text(field, text);
            }
        };
        w.signed(1, self.images_dir);
        if let Some(pid) = self.pid {
            w.signed(2, pid);
        }
        w.flag(3, self.leave_running);
        w.flag(4, self.ext_unix_sk);
        w.flag(5, self.tcp_established);
        w.flag(6, self.evasive_devices);
        w.flag(7, self.shell_job);
        w.flag(8, self.file_locks);
        w.signed(9, self.log_level);
        w.text(10, &self.log_file);
        if let Some((address, port)) = &self.page_server {
            w.message(11, |w| {
                w.text(1, address);
                w.signed(2, *port);
            });
        }
        w.flag(12, true);
        w.text(13, &self.root);
        text(w, 14, &self.parent);
        w.flag(15, self.track_memory);
        w.flag(16, self.auto_dedup);
        if let Some(fd) = self.work_dir {
            w.signed(17, fd);
        }
        w.flag(18, self.link_remap);
        for mount in &self.mounts {
            w.message(23, |w| {
                w.text(1, &mount.key);
                w.text(2, &mount.value);
            });
        }
        w.flag(24, true);
        for (controller, path) in &self.cgroup_roots {
            w.message(25, |w| {
                w.text(1, controller);
                w.text(2, path);
            });
        }
        w.flag(26, self.sibling);
        for fd in &self.inherit {
            w.message(27, |w| {
                w.text(1, &fd.key);
                w.signed(2, fd.fd);
            });
        }
        w.number(34, self.cgroups.number());
        for external in &self.external {
            w.text(37, external);
        }
        w.number(38, self.empty_namespaces.into());
        for join in &self.join {
            w.message(39, |w| {
                w.text(1, &join.kind);
                w.text(2, &join.path);
            });
        }
        text(w, 44, &self.freezer);
        w.flag(46, self.tcp_skip_in_flight);
        w.flag(48, self.lazy_pages);
        if let Some(fd) = self.status_fd {
            w.signed(49, fd);
        }
        w.flag(50, true);
        text(w, 51, &self.config_file);
        text(w, 53, &self.lsm_profile);
        text(w, 63, &self.lsm_mount_context);
        if self.no_network_lock {
            w.number(64, LOCK_SKIP);
        }
    }
}

/// A request: `criu_req`.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Which version are you?
    Version,
    /// Can you track memory, and send it when it is asked for?
    Features,
    /// [`Kind::Dump`], [`Kind::PreDump`] or [`Kind::Restore`].
    Do(Kind, &'a Options),
    /// Go on, after a [`Kind::Notify`].
    GoOn,
}

impl Request<'_> {
    /// The message.
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::default();
        match self {
            Self::Version => {
                w.number(1, Kind::Version.number());
                // There is more to come.
                w.flag(4, true);
            }
            Self::Features => {
                w.number(1, Kind::FeatureCheck.number());
                w.message(5, |w| {
                    w.flag(1, true);
                    w.flag(2, true);
                });
            }
            Self::Do(kind, options) => {
                w.number(1, kind.number());
                w.message(2, |w| options.write(w));
            }
            Self::GoOn => {
                w.number(1, Kind::Notify.number());
                w.flag(3, true);
            }
        }
        w.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_protoc_makes_of_it() {
        // `protoc --encode=criu_req rpc.proto`, of `type: NOTIFY notify_success: true` and so on.
        assert_eq!(Request::GoOn.encode(), [0x08, 6, 0x18, 1]);
        assert_eq!(Request::Version.encode(), [0x08, 10, 0x20, 1]);
        assert_eq!(Request::Features.encode(), [0x08, 9, 0x2a, 4, 0x08, 1, 0x10, 1]);
        let options = Options {
            images_dir: 5,
            pid: Some(300),
            mounts: vec![External { key: "/a".into(), value: "b".into() }],
            cgroups: CgroupMode::Ignore,
            ..Options::default()
        };
        let bytes = Request::Do(Kind::Dump, &options).encode();
        assert_eq!(bytes[..4], [0x08, 1, 0x12, bytes.len() as u8 - 4]);
        assert_eq!(bytes[4..9], [0x08, 5, 0x10, 0xac, 0x02]);
        let mount = [0xba, 1, 7, 0x0a, 2, b'/', b'a', 0x12, 1, b'b'];
        assert!(bytes.windows(mount.len()).any(|window| window == mount), "{bytes:x?}");
        assert!(
            bytes.windows(3).any(|window| window == [0x90, 2, 0]),
            "ignore is said: {bytes:x?}"
        );
    }
}
