//! The functions of a program.

use std::path::Path;
use std::process::Command;

/// One function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Where it begins, in the program's memory.
    pub(super) address: u64,
    /// In bytes.
    pub(super) size: u64,
    /// As the linker knows it.
    pub(super) name: String,
}

/// All functions of a program that has its symbols, by address.
pub(super) fn functions(program: &Path) -> Result<Vec<Function>, String> {
    let output = Command::new("readelf").args(["--symbols", "--wide"]).arg(program).output();
    let output = output.map_err(|error| format!("readelf: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut functions: Vec<_> = text.lines().filter_map(function).collect();
    functions.sort_by_key(|function| function.address);
    functions.dedup_by_key(|function| function.address);
    if functions.is_empty() {
        return Err(format!("{}: no symbols", program.display()));
    }
    Ok(functions)
}

/// A line of readelf's: number, address, size, type, binding, visibility, section, name. What begins in
/// the middle of a function, and the tables between them, have another type or no size.
fn function(line: &str) -> Option<Function> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, address, size, "FUNC", _, _, section, name, ..] = fields[..] else { return None };
    let size = size.parse().ok().filter(|size| *size > 0)?;
    let address = u64::from_str_radix(address, 16).ok()?;
    (section != "UND").then(|| Function { address, size, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_functions_are_taken() {
        let line = "  5391: 00000000007d1a40    22 FUNC    LOCAL  DEFAULT    8 _ZN3cli4main17h0E";
        let main = Function { address: 0x7d_1a40, size: 22, name: "_ZN3cli4main17h0E".to_owned() };
        assert_eq!(function(line), Some(main));
        for other in [
            "  5392: 00000000007d1a56     0 FUNC    LOCAL  DEFAULT    8 .Ltmp",
            "  5393: 0000000000202000    64 OBJECT  LOCAL  DEFAULT    4 K256",
            "     1: 0000000000000000     8 FUNC    GLOBAL DEFAULT  UND write",
            "   Num:    Value          Size Type    Bind   Vis      Ndx Name",
            "",
        ] {
            assert_eq!(function(other), None, "{other}");
        }
    }
}
