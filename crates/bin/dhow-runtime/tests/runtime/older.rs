//! The same containers without the calls that Linux got after 4.18: pidfds, the mount API, clone3,
//! openat2, `close_range`. A seccomp filter answers as a kernel that does not know them; what such a
//! kernel lacks besides, only a guest shows (`cargo xtask vm --kernel 4.18`).

use rustix::io::Errno;
use serde_json::json;
use sys::{SeccompFlags, SockFilter};

use crate::bundle::bundle;
use crate::{
    as_runc, cgroups, chroot, exec, hooks, hostile, lifecycle, mounts, namespaces, rootfs,
    rootless, terminal, userns,
};

/// From here on nothing that this thread starts has the newer calls.
fn on_an_older_kernel() {
    const LOAD_NUMBER: u16 = 0x20;
    const IF_EQUAL: u16 = 0x15;
    const IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const PIDFD_SEND_SIGNAL: u32 = 424;
    const OPEN_TREE: u32 = 428;
    const FACCESSAT2: u32 = 439;
    const MOUNT_SETATTR: u32 = 442;
    let insn = |code, jt, jf, k| SockFilter { code, jt, jf, k };
    let filter = [
        insn(LOAD_NUMBER, 0, 0, 0),
        insn(IF_EQUAL, 4, 0, PIDFD_SEND_SIGNAL),
        insn(IF_EQUAL, 3, 0, MOUNT_SETATTR),
        insn(IF_AT_LEAST, 1, 0, FACCESSAT2),
        insn(IF_AT_LEAST, 1, 0, OPEN_TREE),
        insn(RETURN, 0, 0, 0x7fff_0000),
        insn(RETURN, 0, 0, 0x0005_0000 | Errno::NOSYS.raw_os_error().cast_unsigned()),
    ];
    sys::seccomp_set_filter(&filter, SeccompFlags::empty()).unwrap();
    assert!(!sys::has_mount_setattr());
}

/// Tests that hold there too.
macro_rules! also_there {
    ($($module:ident :: $test:ident)*) => { $(
        #[test]
        fn $test() {
            on_an_older_kernel();
            $module::$test();
        }
    )* };
}

also_there! {
    as_runc::a_container_hook_begins_in_the_root
    as_runc::without_a_pivot_the_hosts_proc_is_out_of_reach
    cgroups::a_container_sees_no_cgroup_but_its_own
    cgroups::a_fork_bomb_is_killed_with_its_container
    cgroups::a_paused_container_is_changed_signalled_and_killed
    cgroups::events_tell_of_want_of_memory_until_the_end
    cgroups::without_a_namespace_the_mount_is_still_only_its_own
    chroot::paths_of_the_host_are_those_of_the_chroot
    chroot::what_a_runtime_in_a_chroot_executes_has_the_containers_root
    chroot::what_was_mounted_over_the_runtimes_root_is_not_the_containers
    exec::a_detached_process_goes_on_in_the_containers_cgroup
    exec::a_process_enters_a_user_namespace_as_its_root
    exec::options_change_what_is_executed
    exec::signals_reach_what_is_executed_in_the_foreground
    hooks::all_are_called_in_order_with_the_state
    hooks::one_that_fails_ends_the_container
    hostile::a_dev_that_leads_out_makes_nothing_there
    hostile::device_files_that_are_links_harm_nobody
    hostile::mount_targets_that_are_links_stay_inside
    hostile::the_runtimes_own_file_cannot_be_written
    lifecycle::a_container_goes_through_its_states
    lifecycle::force_removes_what_runs_or_waits
    lifecycle::kill_all_reaches_every_process
    mounts::bind_mounts_take_every_option
    mounts::the_root_propagates_as_asked_for
    namespaces::a_namespace_can_be_joined_beside_a_new_user_namespace
    namespaces::all_but_the_mount_namespace_can_be_joined
    rootfs::a_read_only_root_is_read_only_and_its_mounts_are_not
    rootfs::a_tmpfs_can_begin_with_what_it_covers
    rootfs::bind_mounts_have_the_attributes_asked_for
    rootfs::devices_are_those_of_the_specification_and_those_asked_for
    rootfs::in_a_user_namespace_devices_are_bound
    rootfs::masked_and_read_only_paths_hold
    rootfs::nothing_but_procfs_covers_proc
    rootless::a_container_of_one_id_lives_and_ends
    terminal::a_console_that_is_a_link_is_covered_and_not_followed
    terminal::a_process_can_have_a_terminal_too
    terminal::the_terminal_is_the_containers_own
    userns::namespaces_of_other_owners_are_joined_beside_a_user_namespace
}

#[test]
fn what_needs_a_newer_kernel_is_refused_by_name() {
    let Some(mut b) = bundle("what_needs_a_newer_kernel_is_refused_by_name") else { return };
    on_an_older_kernel();
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    b.mount(json!({
        "destination": "/m", "source": b.dir, "options": ["bind"],
        "uidMappings": map, "gidMappings": map,
    }));
    b.args(&["true"]).run().fails(
        "id-mapped mounts: need mount_setattr(2) (Linux 5.12), which this kernel does not have",
    );
    b.assert_nothing_left();
}
