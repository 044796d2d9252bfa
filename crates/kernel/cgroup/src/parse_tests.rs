#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them so")]

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(text: &str, want: &Expect) {
    let lines: Vec<String> = mountinfo(text.as_bytes())
        .iter()
        .map(|m| {
            let version = if m.v2 { "V2" } else { "V1" };
            format!("{version} {:?} {:?} of {:?} {:?}\n", m.device, m.point, m.root, m.controllers)
        })
        .collect();
    want.assert_eq(&lines.concat());
}

#[test]
fn v1_trees_are_known_by_their_superblock() {
    check(
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
         32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:4 - cgroup cgroup rw,cpu,cpuacct\n\
         33 31 0:36 /a /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
         34 31 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n",
        &expect![[r#"
            V1 (0, 29) "/sys/fs/cgroup/cpu,cpuacct" of "/" ["cpu", "cpuacct"]
            V1 (0, 36) "/sys/fs/cgroup/systemd" of "/a" ["name=systemd"]
            V2 (0, 37) "/sys/fs/cgroup/unified" of "/" []
        "#]],
    );
}

#[test]
fn a_process_is_in_one_cgroup_of_each_tree() {
    let text = "12:cpu,cpuacct:/a\n1:name=systemd:/../b:c\n0::/x (deleted)\n0::rel\n7\n";
    let of = |controllers: &[&str], path: &str, deleted| Membership {
        controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
        path: path.to_owned(),
        deleted,
    };
    let want = [
        of(&["cpu", "cpuacct"], "/a", false),
        of(&["name=systemd"], "/../b:c", false),
        of(&[], "/x", true),
    ];
    assert_eq!(membership(text), want);
}

#[test]
fn limits_are_numbers_or_none() {
    assert_eq!(limit("max\n"), Some(Limit::Max));
    assert_eq!(limit("-1\n"), Some(Limit::Max));
    assert_eq!(limit("12\n"), Some(Limit::At(12)));
    assert_eq!(limit("-2\n"), None);
    assert_eq!(limit(""), None);
    assert_eq!(size_v1("9223372036854771712\n"), Some(Limit::Max));
    assert_eq!(size_v1("4096\n"), Some(Limit::At(4096)));
    assert_eq!(cpu_max("max 100000\n"), Some((Limit::Max, 100_000)));
    assert_eq!(cpu_max("5000 10000\n"), Some((Limit::At(5000), 10_000)));
    assert_eq!(cpu_max("5000\n"), None);
    assert_eq!(pids("3\n0\nx\n-7\n99999999999\n1\n"), [3, 1]);
}

#[test]
fn keyed_files_keep_what_is_well_formed() {
    let text = "oom 1\noom_kill 2\nbad\nalso bad\nbig 99999999999999999999999\n";
    assert_eq!(flat(text), [("oom".to_owned(), 1), ("oom_kill".to_owned(), 2)].into());
    let text = "mlx4_0 hca_handle=2 hca_object=max x\n\nocrdma1\n";
    let pairs = [("hca_handle".to_owned(), Limit::At(2)), ("hca_object".to_owned(), Limit::Max)];
    assert_eq!(
        nested(text),
        [("mlx4_0".to_owned(), pairs.into()), ("ocrdma1".to_owned(), BTreeMap::new())]
    );
}

fn entry(operation: &str, value: u64) -> BlockEntry {
    BlockEntry { major: 8, minor: 16, operation: operation.to_owned(), value }
}

#[test]
fn v1_counts_are_read_without_their_total() {
    let text = "8:16 Read 4096\n8:16 Write 512\n8:16 7\nTotal 4608\n";
    assert_eq!(blkio(text), [entry("Read", 4096), entry("Write", 512), entry("", 7)]);
}

#[test]
fn v2_counts_are_parted_into_bytes_and_operations() {
    let text = "8:16 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n7:0 \n";
    let (bytes, operations) = io_stat(text);
    assert_eq!(bytes, [entry("Read", 4096), entry("Write", 512)]);
    assert_eq!(operations, [entry("Read", 2), entry("Write", 1)]);
}

#[test]
fn each_processor_has_its_line() {
    assert_eq!(usage_all("cpu user system\n0 5 6\n2 7 8\n"), (vec![5, 0, 7], vec![6, 0, 8]));
    assert_eq!(usage_all("18446744073709551615 1 1\n99999 1 1\n"), (vec![], vec![]));
}

#[test]
fn pressure_is_some_and_full() {
    let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\n\
                full avg10=0.10 avg60=nan avg300=x total=9\n";
    let found = pressure(text).unwrap();
    assert_eq!(found.some, PressureLine { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 1234 });
    assert_eq!(found.full, PressureLine { avg10: 0.1, avg60: 0.0, avg300: 0.0, total: 9 });
    // Without pressure accounting the file cannot be read, or is empty.
    assert_eq!(pressure(""), None);
    assert_eq!(pressure("full avg10=1"), None);
}

#[test]
fn lists_of_processors_are_the_kernels() {
    assert_eq!(list("0-3,7\n").unwrap(), [0, 1, 2, 3, 7]);
    assert_eq!(list(" 5 , 1-1,\n").unwrap(), [1, 5]);
    assert_eq!(list("").unwrap(), Vec::<u16>::new());
    for wrong in ["3-1", "a", "1-", "-1", "+1", "65536", "0-4294967295"] {
        assert_eq!(list(wrong), None, "{wrong}");
    }
}

#[test]
fn huge_pages_have_the_names_of_the_cgroups_files() {
    assert_eq!(hugepage_size("hugepages-2048kB").unwrap(), "2MB");
    assert_eq!(hugepage_size("hugepages-1048576kB").unwrap(), "1GB");
    assert_eq!(hugepage_size("hugepages-64kB").unwrap(), "64KB");
    assert_eq!(hugepage_size("hugepages-2048MB"), None);
    assert_eq!(hugepage_size("x"), None);
}

/// Everything at once, for those who try any text: the property below, and the fuzzer.
fn all(text: &str) {
    let mounted = mountinfo(text.as_bytes());
    assert!(mounted.len() <= text.lines().count());
    assert!(membership(text).iter().all(|one| one.path.starts_with('/')));
    assert!(pids(text).iter().all(|pid| *pid > 0));
    let _ = (words(text), number(text), limit(text), size_v1(text), cpu_max(text));
    let _ = (flat(text), nested(text), device(text), blkio(text), io_stat(text));
    let (user, system) = usage_all(text);
    assert_eq!(user.len(), system.len());
    let _ = pressure(text);
    let sorted = list(text).unwrap_or_default();
    assert!(sorted.is_sorted());
    let _ = hugepage_size(text);
}

proptest! {
    #[test]
    fn any_text_is_taken(text in any::<String>()) {
        all(&text);
    }

    /// Closer to what the kernel writes, so that more of it is understood.
    #[test]
    fn almost_the_kernels_text_is_taken(
        text in "([0-9]{1,22}|max|-1|some|full|cgroup2?|[a-z_.]{1,8}=|[:/,\\\\ \n-]){0,40}",
    ) {
        all(&text);
    }
}

#[test]
fn a_carriage_return_is_part_of_a_name() {
    let found = membership("3:memory:/a\r\n0::/b\r\n");
    let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(paths, ["/a\r", "/b\r"]);
}
