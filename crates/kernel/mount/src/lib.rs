//! The mount API of Linux 5.2 and later: a mount is a descriptor first, and gets a place when all
//! about it is right.
//!
//! - [`bind`], [`fs_mount`] and [`overlay`] make a detached mount;
//! - [`mount_setattr`] changes what it may do while nobody sees it yet;
//! - [`move_to_fd`] puts it where a descriptor says, so that no path is resolved a second time.
//!
//! On a kernel that does not have it, an open [`Yard`] stands in for it.
//!
//! [`options`] sorts the option strings of fstab(5) into what belongs to the mount and what belongs
//! to the file system, and [`mountinfo`] tells what is mounted where. Errors are [`sys::Error`], and
//! hold what the kernel's file system says.
#![forbid(unsafe_code)]

mod filesystem;
pub mod mountinfo;
pub mod options;
mod overlay;
mod overlay_options;
mod pivot;
mod top;
mod tree;
mod yard;

pub use filesystem::{FsOption, fs_mount, reconfigure};
pub use overlay::overlay;
pub use overlay_options::{
    forget_volatile, has_volatile_overlay, in_user_namespace, overlay_attribute,
};
pub use pivot::{detach_old_root, pivot_root_beneath, pivot_root_into};
pub use sys::{MountAttr, Propagation};
pub use top::{Top, cut_off_at_top, go_to_top};
pub use tree::{
    bind, bind_fd, cut_off, is_mountpoint, is_mountpoint_fd, mount_setattr, move_to_fd,
    move_to_path, open_tree, open_tree_fd, set_propagation, set_propagation_fd, umount_detach,
};
pub use yard::{Yard, attributes};

#[cfg(test)]
mod tests;
