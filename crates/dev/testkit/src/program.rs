//! Where the program under test is.

use std::path::PathBuf;

/// `DHOW_BIN`, else the `dhow` that was built beside this test.
pub fn dhow_program() -> PathBuf {
    if let Some(path) = std::env::var_os("DHOW_BIN") {
        return PathBuf::from(path);
    }
    let test = std::env::current_exe().expect("the path of this test");
    // TARGET/debug/deps/TEST-HASH
    let directory = test.parent().and_then(|deps| deps.parent()).expect("a target directory");
    let program = directory.join("dhow");
    assert!(
        program.exists(),
        "{program:?} is not built: cargo build --features dhow/failpoints, or set DHOW_BIN"
    );
    program
}
