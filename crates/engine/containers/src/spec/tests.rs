use expect_test::{Expect, expect};
use oci::runtime::User;

use super::namespaces::Place;
use super::*;
use crate::mounting::{self, Mounting};
use crate::record::Record;
use crate::supplies::Bound;

/// A container from the two halves of a request, as JSON.
fn container(config: &str, host: &str) -> Container {
    let mut record = Record {
        config: serde_json::from_str(config).unwrap(),
        host: serde_json::from_str(host).unwrap(),
        ..Record::default()
    };
    record.config.hostname = "0123456789ab".into();
    if record.host.masked_paths.is_nil() {
        record.host.masked_paths = security::default_masked().into();
        record.host.readonly_paths = security::default_readonly().into();
    }
    for bind in &record.host.binds {
        record.mounts.push(mounting::from_bind(bind).unwrap());
    }
    for (target, options) in &record.host.tmpfs {
        record.mounts.push(mounting::from_tmpfs(target, options).unwrap());
    }
    Container {
        id: "0123456789abcdef".repeat(4),
        name: "web".into(),
        image: None,
        created: 0,
        record,
    }
}

fn spec(config: &str, host: &str) -> Spec {
    let container = container(config, host);
    let identity = Identity {
        user: User { additional_gids: vec![0], ..User::default() },
        home: "/root".into(),
    };
    let namespaces = Namespaces {
        pid: Place::Own,
        net: Place::Own,
        ipc: Place::Own,
        uts: Place::Own,
        cgroup: Place::Own,
        nested: None,
        user: Place::Host,
    };
    let mut security = Security::parse(&container.record.host.security_opt).unwrap();
    if container.record.host.security_opt.is_empty() {
        security = Security::parse(&["seccomp=unconfined".into()]).unwrap();
    }
    let files = [("/x/hosts".into(), "/etc/hosts")];
    let bound = |mounting: &Mounting| Bound { source: (&mounting.point.source).into(), maps: None };
    let bound: Vec<Bound> = container.record.mounts.iter().map(bound).collect();
    generate(&Input {
        container: &container,
        identity: &identity,
        namespaces: &namespaces,
        security: &security,
        apparmor: "",
        labels: &selinux::Labels::default(),
        cgroups_path: "/dhow/0123".into(),
        files: &files,
        bound: &bound,
        devices: &[],
        all_devices: &[],
        all_caps: CapSet((1 << 41) - 1),
        possible_cpus: 2,
        links: &[],
        shm: None,
        report: &[],
    })
    .unwrap()
}

#[track_caller]
fn check(value: &impl serde::Serialize, want: &Expect) {
    want.assert_eq(&serde_json::to_string_pretty(value).unwrap());
}

fn mounts_of(spec: &Spec) -> String {
    spec.mounts
        .iter()
        .map(|m| format!("{} {} {} {}\n", m.destination, m.kind, m.source, m.options.join(",")))
        .collect()
}

#[test]
fn a_plain_container() {
    let spec = spec(r#"{"Cmd":["sh"],"Env":["A=1"]}"#, "{}");
    check(
        &spec,
        &expect![[r#"
        {
          "ociVersion": "1.3.0",
          "process": {
            "user": {
              "uid": 0,
              "gid": 0,
              "additionalGids": [
                0
              ]
            },
            "args": [
              "sh"
            ],
            "env": [
              "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
              "HOSTNAME=0123456789ab",
              "A=1",
              "HOME=/root"
            ],
            "cwd": "/",
            "capabilities": {
              "bounding": [
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_SETGID",
                "CAP_SETUID",
                "CAP_SETPCAP",
                "CAP_NET_BIND_SERVICE",
                "CAP_NET_RAW",
                "CAP_SYS_CHROOT",
                "CAP_MKNOD",
                "CAP_AUDIT_WRITE",
                "CAP_SETFCAP"
              ],
              "effective": [
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_SETGID",
                "CAP_SETUID",
                "CAP_SETPCAP",
                "CAP_NET_BIND_SERVICE",
                "CAP_NET_RAW",
                "CAP_SYS_CHROOT",
                "CAP_MKNOD",
                "CAP_AUDIT_WRITE",
                "CAP_SETFCAP"
              ],
              "permitted": [
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_SETGID",
                "CAP_SETUID",
                "CAP_SETPCAP",
                "CAP_NET_BIND_SERVICE",
                "CAP_NET_RAW",
                "CAP_SYS_CHROOT",
                "CAP_MKNOD",
                "CAP_AUDIT_WRITE",
                "CAP_SETFCAP"
              ]
            }
          },
          "root": {
            "path": "rootfs"
          },
          "hostname": "0123456789ab",
          "mounts": [
            {
              "destination": "/proc",
              "type": "proc",
              "source": "proc",
              "options": [
                "nosuid",
                "noexec",
                "nodev"
              ]
            },
            {
              "destination": "/dev",
              "type": "tmpfs",
              "source": "tmpfs",
              "options": [
                "nosuid",
                "strictatime",
                "mode=755",
                "size=65536k"
              ]
            },
            {
              "destination": "/dev/pts",
              "type": "devpts",
              "source": "devpts",
              "options": [
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5"
              ]
            },
            {
              "destination": "/sys",
              "type": "sysfs",
              "source": "sysfs",
              "options": [
                "nosuid",
                "noexec",
                "nodev",
                "ro"
              ]
            },
            {
              "destination": "/sys/fs/cgroup",
              "type": "cgroup",
              "source": "cgroup",
              "options": [
                "ro",
                "nosuid",
                "noexec",
                "nodev"
              ]
            },
            {
              "destination": "/dev/mqueue",
              "type": "mqueue",
              "source": "mqueue",
              "options": [
                "nosuid",
                "noexec",
                "nodev"
              ]
            },
            {
              "destination": "/dev/shm",
              "type": "tmpfs",
              "source": "shm",
              "options": [
                "nosuid",
                "noexec",
                "nodev",
                "mode=1777",
                "size=67108864"
              ]
            },
            {
              "destination": "/etc/hosts",
              "type": "bind",
              "source": "/x/hosts",
              "options": [
                "rbind",
                "rprivate"
              ]
            }
          ],
          "linux": {
            "namespaces": [
              {
                "type": "mount"
              },
              {
                "type": "network"
              },
              {
                "type": "uts"
              },
              {
                "type": "pid"
              },
              {
                "type": "ipc"
              },
              {
                "type": "cgroup"
              }
            ],
            "resources": {
              "devices": [
                {
                  "allow": false,
                  "access": "rwm"
                },
                {
                  "allow": true,
                  "type": "c",
                  "access": "m"
                },
                {
                  "allow": true,
                  "type": "b",
                  "access": "m"
                },
                {
                  "allow": true,
                  "type": "c",
                  "major": 1,
                  "minor": 3,
                  "access": "rwm"
                },
                {
                  "allow": true,
                  "type": "c",
                  "major": 1,
                  "minor": 5,
                  "access": "rwm"
                },
                {
                  "allow": true,
                  "type": "c",
                  "major": 1,
                  "minor": 7,
                  "access": "rwm"
                },
                {
                  "allow": true,
                  "type": "c",
                  "major": 1,
                  "minor": 8,
                  "access": "rwm"
                },
                {
                  "allow": true,
                  "type": "c",
                  "major": 1,
                  "minor": 9,
                  "access": "rwm"
                },
                {
                  "allow": true,
                  "type": "c",
                  "major": 5,
                  "minor": 0,
                  "access": "rwm"
                },
                {
                  "allow": true,
                  "type": "c",
                  "major": 5,
                  "minor": 1,
                  "access": "rwm"
                },
                {
                  "allow": true,
                  "type": "c",
                  "major": 5,
                  "minor": 2,
                  "access": "rwm"
                },
                {
                  "allow": true,
                  "type": "c",
                  "major": 136,
                  "access": "rwm"
                }
              ]
            },
            "cgroupsPath": "/dhow/0123",
            "sysctl": {
              "net.ipv4.ip_unprivileged_port_start": "0",
              "net.ipv4.ping_group_range": "0 2147483647"
            },
            "maskedPaths": [
              "/proc/asound",
              "/proc/acpi",
              "/proc/interrupts",
              "/proc/kcore",
              "/proc/keys",
              "/proc/latency_stats",
              "/proc/timer_list",
              "/proc/timer_stats",
              "/proc/sched_debug",
              "/proc/scsi",
              "/sys/firmware",
              "/sys/devices/virtual/powercap",
              "/sys/devices/system/cpu/cpu0/thermal_throttle",
              "/sys/devices/system/cpu/cpu1/thermal_throttle"
            ],
            "readonlyPaths": [
              "/proc/bus",
              "/proc/fs",
              "/proc/irq",
              "/proc/sys",
              "/proc/sysrq-trigger"
            ]
          }
        }"#]],
    );
}

#[test]
fn mounts_of_a_person_stand_in_the_place_of_ours() {
    let spec = spec(
        "{}",
        r#"{"Binds":["/b:/a/b","/a:/a:ro","/h:/etc/hosts","/d:/dev"],"Tmpfs":{"/tmp":"size=1m"},"ShmSize":1048576}"#,
    );
    expect![[r"
        /proc proc proc nosuid,noexec,nodev
        /sys sysfs sysfs nosuid,noexec,nodev,ro
        /sys/fs/cgroup cgroup cgroup ro,nosuid,noexec,nodev
        /a bind /a rbind,rro,rprivate
        /dev bind /d rbind,rw,rprivate
        /tmp tmpfs tmpfs noexec,nosuid,nodev,rprivate,size=1m
        /a/b bind /b rbind,rw,rprivate
        /etc/hosts bind /h rbind,rw,rprivate
    "]]
    .assert_eq(&mounts_of(&spec));
}

#[test]
fn a_privileged_container_is_held_back_by_nothing() {
    let spec = spec(
        r#"{"Tty":true}"#,
        r#"{"Privileged":true,"IpcMode":"host","OomScoreAdj":-500,"ReadonlyRootfs":true,"Binds":["/a:/a:rshared"]}"#,
    );
    let linux = spec.linux.clone().unwrap();
    assert!(linux.masked_paths.is_empty() && linux.readonly_paths.is_empty());
    assert!(linux.seccomp.is_none());
    assert_eq!(linux.rootfs_propagation, "shared");
    assert_eq!(linux.resources.unwrap().devices, devices::every_rule());
    assert!(spec.root.as_ref().unwrap().readonly);
    let process = spec.process.clone().unwrap();
    assert_eq!(process.capabilities.unwrap().bounding.len(), 41);
    assert_eq!(process.oom_score_adj, Some(-500));
    expect![[r"
        /proc proc proc nosuid,noexec,nodev
        /dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k
        /dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5
        /sys sysfs sysfs nosuid,noexec,nodev,rw
        /sys/fs/cgroup cgroup cgroup rw,nosuid,noexec,nodev
        /dev/mqueue mqueue mqueue nosuid,noexec,nodev
        /dev/shm bind /dev/shm rbind,rprivate
        /etc/hosts bind /x/hosts rbind,rprivate,ro
        /a bind /a rbind,rw,rshared
    "]]
    .assert_eq(&mounts_of(&spec));
}

#[test]
fn nothing_is_inheritable_or_ambient() {
    let spec = spec("{}", r#"{"CapAdd":["ALL"]}"#);
    let caps = spec.process.unwrap().capabilities.unwrap();
    assert!(caps.inheritable.is_empty() && caps.ambient.is_empty());
}
