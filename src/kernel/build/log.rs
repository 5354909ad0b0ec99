//! What `make` writes: what it is at, and why it stopped.

use std::fmt;
use std::path::Path;

/// The most lines that are shown of one failure.
const LINES: usize = 24;
/// The most failures that are shown: with several jobs, some follow the first.
const FAILURES: usize = 4;

/// A target that could not be made, and the lines that say why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The target: `fs/ext4/super.o`.
    pub target: String,
    /// What the compiler, the linker or a script said.
    pub lines: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`:", self.target)?;
        for line in &self.lines {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// The object in a line like `  CC [M]  fs/fat/dir.o`.
pub(super) fn object(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("  ")?;
    let rest = rest.strip_prefix("CC ").or_else(|| rest.strip_prefix("AS "))?;
    let rest = rest.trim_start();
    let name = rest.strip_prefix("[M]").unwrap_or(rest).trim();
    name.ends_with(".o").then_some(name)
}

/// The object that a command of `make -n` would compile: `… echo '  CC  x.o'; …`.
pub(super) fn object_to_do(command: &str) -> Option<&str> {
    let (_, rest) = command.split_once("echo '")?;
    object(rest.split_once('\'')?.0)
}

/// Whether a line only says what is being made.
fn is_step(line: &str) -> bool {
    let word = line.strip_prefix("  ").and_then(|rest| rest.split(' ').next());
    word.is_some_and(|word| {
        word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    }) || line.starts_with("# ")
}

/// `make` that goes into a directory or comes out of it.
fn is_directory_line(line: &str) -> bool {
    line.starts_with("make")
        && (line.contains(": Entering directory") || line.contains(": Leaving directory"))
}

/// What one of `make`'s own messages, `make[3]: *** …`, says.
enum Message<'a> {
    /// A target could not be made: `[scripts/Makefile.build:286: a/b.o] Error 1`.
    Failed(&'a str),
    /// Something else that stopped it: `No rule to make target 'x'.  Stop.`
    Stopped(&'a str),
    /// `Waiting for unfinished jobs....`, `Deleting file 'x'`
    Aside,
}

fn message(line: &str) -> Option<Message<'_>> {
    let (maker, rest) = line.split_once(": *** ")?;
    if let Some(inside) = rest.strip_prefix('[').filter(|_| maker.starts_with("make")) {
        let (inside, _) = inside.split_once(']')?;
        return Some(Message::Failed(inside.rsplit(": ").next().unwrap_or(inside)));
    }
    Some(match rest.strip_suffix("Stop.") {
        Some(text) => Message::Stopped(text.trim_end()),
        None => Message::Aside,
    })
}

/// Why `make` stopped, from all that it wrote: for each target that failed by
/// itself (and not because something below it did), the lines between its step
/// and its `***`. Paths below the given folders are shortened.
pub(super) fn failures(said: &str, folders: &[&Path]) -> Vec<Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    let shortened = |line: &str| shorten(line, folders);
    for line in said.lines() {
        match message(line) {
            Some(Message::Failed(target)) => {
                // Without lines of its own, it is a directory's or all of it.
                if !lines.is_empty() {
                    failures.push(Failure {
                        target: shortened(target),
                        lines: telling(&lines).into_iter().map(shortened).collect(),
                    });
                }
                lines.clear();
            }
            Some(Message::Stopped(text)) => failures.push(Failure {
                target: "make".to_owned(),
                lines: vec![shortened(text)],
            }),
            Some(Message::Aside) => {}
            None if is_step(line) => lines.clear(),
            None if is_directory_line(line) || line.trim().is_empty() => {}
            None => lines.push(line),
        }
    }
    failures.truncate(FAILURES);
    failures
}

/// Of what one command said, what matters: warnings and notes, with the lines
/// that belong to them, are left out, and never is it more than a screen.
fn telling<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let (mut told, mut heads, mut keep) = (Vec::new(), Vec::new(), true);
    for line in lines {
        let is_head = line.ends_with(':') || line.starts_with("In file included") || line.ends_with(',');
        if is_head {
            heads.push(*line);
            continue;
        }
        if !line.starts_with(' ') {
            keep = ![": warning: ", ": note: "].iter().any(|word| line.contains(word));
        }
        let head = std::mem::take(&mut heads);
        if keep {
            told.extend(head);
            told.push(*line);
        }
    }
    if told.is_empty() {
        told = lines.to_vec();
    }
    told.truncate(LINES);
    told
}

fn shorten(text: &str, folders: &[&Path]) -> String {
    folders.iter().fold(text.to_owned(), |text, folder| {
        text.replace(&format!("{}/", folder.display()), "")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_once_each() {
        for (line, name) in [
            ("  CC      init/main.o", Some("init/main.o")),
            ("  CC [M]  fs/fat/dir.o", Some("fs/fat/dir.o")),
            ("  AS      arch/x86/entry/entry.o", Some("arch/x86/entry/entry.o")),
            ("  HOSTCC  scripts/kallsyms", None),
            ("  CC      /src/linux/tools/objtool/check", None),
            ("  LD [M]  fs/fat/fat.ko", None),
            ("  CCX     a.o", None),
            ("a.c:1: CC a.o", None),
        ] {
            assert_eq!(object(line), name, "{line}");
        }
        for (line, name) in [
            (
                "set -e;  echo '  CC [M]  lib/crc7.o';   gcc -Wp,-MMD,lib/.crc7.o.d -c -o lib/crc7.o",
                Some("lib/crc7.o"),
            ),
            ("echo '  AR      lib/lib.a'; rm -f lib/lib.a", None),
            ("rm -f x", None),
        ] {
            assert_eq!(object_to_do(line), name, "{line}");
        }
    }

    // What Linux 5.10's make and gcc 12 wrote for files that were broken by hand.

    const COMPILER: &str = "make[1]: Entering directory '/build/x'
  CALL    /src/linux/scripts/checksyscalls.sh
  CC [M]  lib/crc7.o
/src/linux/lib/crc7.c: In function 'crc7_be':
/src/linux/lib/crc7.c:69:9: warning: ISO C90 forbids mixed declarations and code [-Wdeclaration-after-statement]
   69 |         int unused_thing; return crc + undeclared_thing;
      |         ^~~
/src/linux/lib/crc7.c:69:40: error: 'undeclared_thing' undeclared (first use in this function); did you mean 'unused_thing'?
   69 |         int unused_thing; return crc + undeclared_thing;
      |                                        ^~~~~~~~~~~~~~~~
      |                                        unused_thing
/src/linux/lib/crc7.c:69:40: note: each undeclared identifier is reported only once for each function it appears in
/src/linux/lib/crc7.c:70:1: error: control reaches end of non-void function [-Werror=return-type]
   70 | }
      | ^
cc1: some warnings being treated as errors
make[2]: *** [/src/linux/scripts/Makefile.build:291: lib/crc7.o] Error 1
make[1]: *** [/src/linux/Makefile:1856: lib] Error 2
make[1]: *** Waiting for unfinished jobs....
  CC      lib/ctype.o
make: *** [Makefile:192: __sub-make] Error 2
";

    const HEADER: &str = "make[1]: Entering directory '/build/x'
  CC [M]  lib/crc7.o
/src/linux/lib/crc7.c:9:10: fatal error: linux/no-such-header.h: No such file or directory
    9 | #include <linux/no-such-header.h>
      |          ^~~~~~~~~~~~~~~~~~~~~~~~
compilation terminated.
make[2]: *** [/src/linux/scripts/Makefile.build:291: lib/crc7.o] Error 1
make[1]: *** [/src/linux/Makefile:1856: lib] Error 2
make: *** [Makefile:192: __sub-make] Error 2
";

    const MODPOST: &str = "make[1]: Entering directory '/build/x'
  CC [M]  lib/crc7.o
/src/linux/lib/crc7.c: In function 'crc7_be':
/src/linux/lib/crc7.c:69:9: warning: ISO C90 forbids mixed declarations and code [-Wdeclaration-after-statement]
   69 |         extern int nowhere(void); return crc + nowhere();
      |         ^~~~~~
make[2]: *** Deleting file 'modules-only.symvers'
  MODPOST modules-only.symvers
ERROR: modpost: \"nowhere\" [lib/crc7.ko] undefined!
make[2]: *** [/src/linux/scripts/Makefile.modpost:123: modules-only.symvers] Error 1
make[1]: *** [/src/linux/Makefile:1783: modules] Error 2
make: *** [Makefile:192: __sub-make] Error 2
";

    const LINKER: &str = "make[1]: Entering directory '/build/x'
  GEN     modules.builtin
  LD      vmlinux
ld: lib/ctype.o: in function `here':
ctype.c:(.text+0x1): undefined reference to `nowhere'
make[1]: *** [/src/linux/Makefile:1196: vmlinux] Error 1
make: *** [Makefile:192: __sub-make] Error 2
";

    const NO_RULE: &str = "\
make[1]: Entering directory '/build/x'
make[1]: *** No rule to make target 'init/main.o', needed by 'arch/x86/boot/bzImage'.  Stop.
make: *** [Makefile:16: sub-make] Error 2
";

    #[test]
    fn a_failure_is_told_in_the_compilers_own_lines() {
        let folders = [Path::new("/src/linux"), Path::new("/build/x")];
        let cases: [(&str, &str, &[&str]); 5] = [
            (
                COMPILER,
                "lib/crc7.o",
                &[
                    "lib/crc7.c:69:40: error: 'undeclared_thing' undeclared (first use in this function); did you mean 'unused_thing'?",
                    "   69 |         int unused_thing; return crc + undeclared_thing;",
                    "      |                                        ^~~~~~~~~~~~~~~~",
                    "      |                                        unused_thing",
                    "lib/crc7.c:70:1: error: control reaches end of non-void function [-Werror=return-type]",
                    "   70 | }",
                    "      | ^",
                    "cc1: some warnings being treated as errors",
                ],
            ),
            (
                HEADER,
                "lib/crc7.o",
                &[
                    "lib/crc7.c:9:10: fatal error: linux/no-such-header.h: No such file or directory",
                    "    9 | #include <linux/no-such-header.h>",
                    "      |          ^~~~~~~~~~~~~~~~~~~~~~~~",
                    "compilation terminated.",
                ],
            ),
            (
                MODPOST,
                "modules-only.symvers",
                &["ERROR: modpost: \"nowhere\" [lib/crc7.ko] undefined!"],
            ),
            (
                LINKER,
                "vmlinux",
                &[
                    "ld: lib/ctype.o: in function `here':",
                    "ctype.c:(.text+0x1): undefined reference to `nowhere'",
                ],
            ),
            (
                NO_RULE,
                "make",
                &["No rule to make target 'init/main.o', needed by 'arch/x86/boot/bzImage'."],
            ),
        ];
        for (said, target, lines) in cases {
            let failures = failures(said, &folders);
            let wanted = Failure {
                target: target.to_owned(),
                lines: lines.iter().map(|line| (*line).to_owned()).collect(),
            };
            assert_eq!(failures, [wanted]);
        }
    }

    #[test]
    fn several_failures_are_told_and_never_more_than_a_screen() {
        let block = |name: &str, lines: usize| {
            let errors = format!("{name}.c:1:1: error: no\n").repeat(lines);
            format!("  CC      {name}.o\n{errors}make[2]: *** [Makefile:1: {name}.o] Error 1\n")
        };
        let two = failures(&(block("a", 1) + &block("b", 1000)), &[]);
        assert_eq!((two[0].target.as_str(), two[0].lines.len()), ("a.o", 1));
        assert_eq!((two[1].target.as_str(), two[1].lines.len()), ("b.o", LINES));
        let many: String = (0..9).map(|n| block(&n.to_string(), 1)).collect();
        assert_eq!(failures(&many, &[]).len(), FAILURES);
        assert_eq!(failures("", &[]), []);
    }
}
