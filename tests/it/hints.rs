//! Every error says what to do about it.

use std::fs;
use std::path::{Path, PathBuf};

/// All Rust files below a folder.
fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, all),
            false if path.extension().is_some_and(|end| end == "rs") => all.push(path),
            false => {}
        }
    }
}

/// The variants of a file's enums of diagnostics that have no `#[diagnostic(…)]`:
/// neither a hint, nor another error that has one. How the formatter lays code out
/// tells where enums and variants begin and end.
fn without_hint(text: &str) -> (usize, Vec<&str>) {
    let (mut variants, mut bare) = (0, Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if !(line.starts_with("#[derive(") && line.contains("Diagnostic")) {
            continue;
        }
        let is_enum = |line: &&str| line.contains("enum ") && line.ends_with('{');
        let item = lines.by_ref().find(|line| !line.starts_with(['#', ' ', ')']));
        if item.filter(is_enum).is_none() {
            continue;
        }
        let mut hint = false;
        for line in lines.by_ref().take_while(|line| *line != "}") {
            hint |= line.starts_with("    #[diagnostic(");
            let name = line.strip_prefix("    ").unwrap_or_default();
            if name.starts_with(|c: char| c.is_ascii_uppercase()) {
                variants += 1;
                if !hint {
                    bare.push(name);
                }
                hint = false;
            }
        }
    }
    (variants, bare)
}

#[test]
fn every_error_has_a_hint() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut variants = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (here, bare) = without_hint(&text);
        assert_eq!(bare, [""; 0], "{}", file.display());
        variants += here;
    }
    // As many as there were when this was written, at least.
    assert!(variants > 200, "only {variants} were found");
}

#[test]
fn what_has_no_hint_is_found() {
    let text = "\
#[derive(Debug, miette::Diagnostic)]
pub enum E {
    /// One.
    #[error(\"one\")]
    One,
    #[diagnostic(help(\"do\"))]
    Two {
        Field: u8,
    },
    #[diagnostic(transparent)]
    Three(#[from] A),
    Four(B),
}
";
    assert_eq!(without_hint(text), (4, vec!["One,", "Four(B),"]));
}
