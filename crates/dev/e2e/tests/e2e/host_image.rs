//! `dhow run host`: the machine's own files, safe to destroy.

use testkit::{Sandbox, needs};

#[test]
fn destroying_it_leaves_the_machine_whole() {
    needs!(Root, Overlay, Netns);
    let sandbox = Sandbox::new("host-image");
    let marker = sandbox.work().join("marker");
    std::fs::write(&marker, "whole").unwrap();
    let script = "rm -rf /etc/passwd /opt /home 2>/dev/null; echo new > /etc/dhow-was-here; \
                  test ! -e /etc/passwd && cat /etc/dhow-was-here";
    assert_eq!(sandbox.ok(&["run", "--rm", "host", "sh", "-c", script]), "new");
    assert!(std::fs::metadata("/etc/passwd").is_ok());
    assert!(std::fs::metadata("/etc/dhow-was-here").is_err());
    assert_eq!(std::fs::read_to_string(&marker).unwrap(), "whole");
    sandbox.baseline();
    sandbox.finish();
}

#[test]
fn it_shows_neither_temporary_files_nor_the_engine_s_own() {
    needs!(Root, Overlay, Netns);
    let sandbox = Sandbox::new("host-image-hides");
    let root = sandbox.root();
    std::fs::write(root.join("secret"), "x").unwrap();
    let script = format!("ls -A /tmp | wc -l; ls -A {} 2>/dev/null | wc -l", root.display());
    assert_eq!(sandbox.ok(&["run", "--rm", "host", "sh", "-c", &script]), "0\n0");
    std::fs::remove_file(root.join("secret")).unwrap();
    sandbox.baseline();
    sandbox.finish();
}
