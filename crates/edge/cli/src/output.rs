//! Printing that ends as any filter's does when the reader leaves (`dhow ps | head -1`): quietly,
//! and not with the panic of the standard library's `println!`.

use std::fmt::Arguments;
use std::io::{self, Write as _};

/// 128 and the number of SIGPIPE: what a shell reports of a program that died of it.
pub(crate) const BROKEN_PIPE: i32 = 141;

/// Prints to standard output.
pub(crate) fn print(text: Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let done = stdout.write_fmt(text);
    match done {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => std::process::exit(BROKEN_PIPE),
        Err(err) => {
            // The last that can be done: say so where it may still be seen.
            let _ = writeln!(io::stderr(), "dhow: write to standard output: {err}");
            std::process::exit(1)
        }
        Ok(()) => {}
    }
}

/// As the standard library's, but see [`crate::output`].
macro_rules! println {
    () => { $crate::output::print(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($arg)*))) };
}

/// As the standard library's, but see [`crate::output`].
macro_rules! print {
    ($($arg:tt)*) => { $crate::output::print(format_args!($($arg)*)) };
}
