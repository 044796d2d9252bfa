//! Dockerfiles: any bytes are read or refused at a line that there is; what was read names its lines in
//! order, and each instruction by itself is read as what it was.
#![no_main]

use dockerfile::call::{Lint, Targets};
use dockerfile::check::Config;
use dockerfile::instruction::{Body, Instruction};
use dockerfile::{Lines, parse, parse_some, snippet, syntax};
use libfuzzer_sys::fuzz_target;

/// What an instruction says, where neither comments nor here-documents have a part in it.
fn alone(escape: char, instruction: &Instruction) {
    let has_documents = match &instruction.body {
        Body::Add(add) => !add.sources.files.is_empty(),
        Body::Copy(copy) => !copy.sources.files.is_empty(),
        Body::Run(run) => !run.heredocs.is_empty(),
        // What it triggers has them, below its line.
        Body::Onbuild(trigger) => trigger.contains('\n'),
        // Its description is in a comment.
        Body::Arg(_) => true,
        _ => false,
    };
    // A text that ends in the escape character would go on; one of several lines is none by itself.
    if has_documents || instruction.text.ends_with(escape) || instruction.text.contains('\n') {
        return;
    }
    let text = format!("# escape={escape}\nFROM scratch\n{}\n", instruction.text);
    let read = parse(text.as_bytes());
    let read = read.unwrap_or_else(|error| panic!("{error} in {text:?}"));
    let again = &read.stages[0].instructions;
    assert_eq!(again.len(), 1, "{text:?}");
    match (&again[0].body, &instruction.body) {
        // A trigger keeps the blanks at its end, which the text has not.
        (Body::Onbuild(one), Body::Onbuild(two)) => assert_eq!(one.trim_end(), two.trim_end()),
        (one, two) => assert_eq!(one, two, "{text:?}"),
    }
    assert_eq!(again[0].keyword, instruction.keyword);
}

fuzz_target!(|bytes: &[u8]| {
    let parsed = parse_some(bytes);
    let source = String::from_utf8_lossy(bytes);
    let n_lines = source.split('\n').count() as u32;
    let check = |lines: Lines| {
        assert!(
            lines.first >= 1 && lines.last >= lines.first && lines.last <= n_lines,
            "{lines:?}"
        );
    };
    match (parse(bytes), &parsed.error) {
        (Ok(whole), None) => assert_eq!(whole, parsed.dockerfile),
        (Err(error), Some(same)) => assert_eq!(error, *same),
        (whole, error) => panic!("{whole:?} but {error:?}"),
    }
    if let Some(error) = &parsed.error {
        error.lines.iter().copied().for_each(check);
        assert!(!error.to_string().is_empty());
        let shown = snippet("Dockerfile", &source, &error.lines);
        assert_eq!(shown.is_empty(), error.lines.is_empty(), "{error:?}");
    }
    // A reader of directives that sees what the parser does not would build with another front end.
    syntax(&source);
    let _ = Config::of_source(&source);
    let file = &parsed.dockerfile;
    let mut last = 0;
    let mut follows = |lines: Lines| {
        check(lines);
        assert!(lines.first > last, "{lines:?} after {last}");
        last = lines.last;
    };
    file.globals.iter().for_each(|one| follows(one.lines));
    for stage in &file.stages {
        follows(stage.lines);
        stage.instructions.iter().for_each(|one| follows(one.lines));
    }
    let all = file.globals.iter().chain(file.stages.iter().flat_map(|one| &one.instructions));
    all.take(50).for_each(|one| alone(file.escape, one));
    let targets = Targets::of(file, bytes);
    assert_eq!(targets.targets.iter().filter(|one| one.default).count(), file.stages.len().min(1));
    assert_eq!(targets.text().lines().count(), 1 + file.stages.len());
    Lint::new("Dockerfile", bytes, &[], parsed.error.as_ref()).text();
});
