//! Which commands a shell script calls, as far as it can be told without
//! running it.
//!
//! A reader of POSIX sh (and the little of bash that busybox's ash knows) that
//! follows quotes, here-documents, substitutions, `case` and functions. What
//! it cannot be sure of it leaves out: a command in a variable, or behind
//! another command's options.

use std::collections::BTreeSet;

use super::rules::ScriptRules;

/// Substitutions in substitutions that are followed; real ones have two or three.
const DEPTH_MAX: usize = 32;

const RESERVED: [&str; 11] = [
    "if", "then", "else", "elif", "fi", "do", "done", "while", "until", "{", "!",
];

/// A call of a command.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    /// Counted from 1.
    pub(super) line: usize,
    /// As it is written: a name or a path.
    pub(super) name: String,
}

/// What a script does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// Commands it calls, with shell builtins and functions.
    pub(super) calls: Vec<Call>,
    /// Functions it defines.
    pub(super) functions: BTreeSet<String>,
    /// What it looks whether it is there: `command -v x`, `[ -x /bin/x ]`.
    pub(super) probed: BTreeSet<String>,
    /// Files it reads in with `.`.
    pub(super) sourced: Vec<Sourced>,
}

/// A file that a script reads in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sourced {
    /// Known by name.
    Path(String),
    /// Of which only the beginning is known: `/etc/default/$NAME`.
    Beginning(String),
}

/// Reads a script.
pub(super) fn scan(text: &str, rules: &ScriptRules) -> Script {
    let mut scanner = Scanner {
        chars: text.chars().collect(),
        at: 0,
        line: 1,
        depth: 0,
        documents: Vec::new(),
        rules,
        script: Script::default(),
    };
    scanner.list(End::File);
    scanner.script
}

/// What ends a list of commands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    File,
    /// `)` or a backquote.
    Char(char),
    /// `;;` or `esac`.
    CaseItem,
}

/// How a list of commands ended.
#[derive(PartialEq, Eq)]
enum Ended {
    AsAsked,
    /// The last item of a `case` needs no `;;`.
    ByEsac,
}

/// Where in a simple command the next word stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the command.
    Command,
    /// It is the command that a prefix such as `exec` runs.
    AfterPrefix,
    /// It is asked whether it is there.
    Probed,
    /// It is a file to read in.
    Sourced,
    /// It is an argument of `[`.
    Tested,
    /// It is the name of a function.
    Function,
    /// It is any argument.
    Argument,
}

struct Word {
    /// What it is without quotes; `None` if that depends on the run.
    text: Option<String>,
    /// What stands before the first part that depends on the run.
    beginning: String,
    /// Whether something in it was quoted: then it is no reserved word.
    quoted: bool,
    /// Whether it is `NAME=…`.
    assignment: bool,
}

struct Scanner<'a> {
    chars: Vec<char>,
    at: usize,
    line: usize,
    depth: usize,
    /// Ends of here-documents that begin on the next line, and whether tabs
    /// before them are dropped.
    documents: Vec<(String, bool)>,
    rules: &'a ScriptRules,
    script: Script,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.next();
        }
        found
    }

    fn skip_blanks(&mut self) {
        loop {
            match (self.peek(), self.peek_at(1)) {
                (Some(' ' | '\t' | '\r'), _) => self.at += 1,
                (Some('\\'), Some('\n')) => {
                    self.at += 1;
                    self.next();
                }
                _ => return,
            }
        }
    }

    fn skip_comment(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.at += 1;
        }
    }

    /// Reads commands up to `end`, which is consumed.
    fn list(&mut self, end: End) -> Ended {
        let mut ended = Ended::AsAsked;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.at = self.chars.len();
        }
        let mut place = Place::Command;
        loop {
            self.skip_blanks();
            let Some(c) = self.peek() else { break };
            if end == End::Char(c) {
                self.next();
                break;
            }
            match c {
                '\n' => {
                    self.next();
                    self.skip_documents();
                    place = Place::Command;
                }
                '#' => self.skip_comment(),
                ';' | '&' | '|' => {
                    self.next();
                    let case_ends = c == ';' && (self.eat(';') || self.eat('&'));
                    if case_ends && end == End::CaseItem {
                        break;
                    }
                    place = Place::Command;
                }
                '(' | ')' => place = self.parenthesis(place),
                '<' | '>' => self.redirection(end),
                _ => {
                    let Some(next) = self.place_after_word(place, end) else {
                        ended = Ended::ByEsac;
                        break;
                    };
                    place = next;
                }
            }
        }
        self.depth -= 1;
        ended
    }

    fn parenthesis(&mut self, place: Place) -> Place {
        if self.next() == Some('(') && place == Place::Command {
            if self.eat('(') {
                self.skip_arithmetic();
            } else {
                self.list(End::Char(')'));
            }
            return Place::Argument;
        }
        Place::Command
    }

    /// Reads a word and says where the one after it stands; `None` if it was
    /// the `esac` that ends the list.
    fn place_after_word(&mut self, place: Place, end: End) -> Option<Place> {
        let line = self.line;
        let word = self.word(end);
        let is_number = |text: &String| text.bytes().all(|byte| byte.is_ascii_digit());
        if matches!(self.peek(), Some('<' | '>')) && word.text.as_ref().is_some_and(is_number) {
            return Some(place);
        }
        let Some(text) = word.text else {
            return Some(match place {
                Place::Command if word.assignment => Place::Command,
                Place::AfterPrefix if word.assignment => Place::AfterPrefix,
                Place::Sourced => {
                    self.script.sourced.push(Sourced::Beginning(word.beginning));
                    Place::Argument
                }
                Place::Tested | Place::Probed => place,
                _ => Place::Argument,
            });
        };
        match place {
            Place::Command if !word.quoted && end == End::CaseItem && text == "esac" => None,
            Place::Command if !word.quoted && !word.assignment => Some(self.command(line, text)),
            Place::Command | Place::AfterPrefix if word.assignment => Some(place),
            Place::Command => Some(self.call(line, text)),
            Place::AfterPrefix => Some(self.after_prefix(line, text)),
            other => Some(self.argument(other, text)),
        }
    }

    fn argument(&mut self, place: Place, text: String) -> Place {
        match place {
            Place::Probed if !text.starts_with('-') => {
                self.script.probed.insert(text);
            }
            Place::Tested if text.starts_with('/') => {
                self.script.probed.insert(text);
            }
            Place::Sourced => {
                self.script.sourced.push(Sourced::Path(text));
                return Place::Argument;
            }
            Place::Function => {
                self.define(&text);
                return Place::Command;
            }
            _ => {}
        }
        place
    }

    /// A word where a command stands: reserved, a function's name, or a call.
    fn command(&mut self, line: usize, text: String) -> Place {
        match text.as_str() {
            "}" | "esac" => return Place::Argument,
            "case" => {
                self.case();
                return Place::Argument;
            }
            "for" | "select" => {
                self.skip_line_of_words();
                return Place::Command;
            }
            "function" => return Place::Function,
            "[[" => return Place::Tested,
            _ if RESERVED.contains(&text.as_str()) => return Place::Command,
            _ => {}
        }
        self.skip_blanks();
        if self.peek() == Some('(') {
            self.define(&text);
            return Place::Command;
        }
        self.call(line, text)
    }

    /// Notes a function, and passes the `()` after its name.
    fn define(&mut self, name: &str) {
        self.script.functions.insert(name.to_owned());
        self.skip_blanks();
        if self.eat('(') {
            self.skip_blanks();
            self.eat(')');
        }
    }

    fn call(&mut self, line: usize, name: String) -> Place {
        let place = if self.rules.prefixes.contains(&name) {
            Place::AfterPrefix
        } else if self.rules.probes.contains(&name) {
            Place::Probed
        } else {
            match name.as_str() {
                "." | "source" => Place::Sourced,
                "[" | "test" => Place::Tested,
                _ => Place::Argument,
            }
        };
        self.script.calls.push(Call { line, name });
        place
    }

    fn after_prefix(&mut self, line: usize, text: String) -> Place {
        match text.as_str() {
            "-v" | "-V" => Place::Probed,
            // Options may have values, which would be taken for commands.
            _ if text.starts_with('-') => Place::Argument,
            // `eval "a; b"` and the like.
            _ if text.contains(|c: char| c.is_whitespace() || ";&|<>()$".contains(c)) => Place::Argument,
            _ => self.call(line, text),
        }
    }

    /// `case WORD in PATTERN) LIST ;; … esac`, from after `case`.
    fn case(&mut self) {
        self.skip_blanks();
        self.word(End::File);
        self.skip_space();
        self.word(End::File); // in
        loop {
            self.skip_space();
            self.eat('(');
            self.skip_blanks();
            let start = self.at;
            let first = self.word(End::File);
            if self.peek().is_none() || (!first.quoted && first.text.as_deref() == Some("esac")) {
                return;
            }
            while self.peek().is_some_and(|c| c != ')') && self.at >= start {
                self.next();
            }
            self.next();
            if self.list(End::CaseItem) == Ended::ByEsac {
                return;
            }
        }
    }

    /// Blanks, line ends and comments.
    fn skip_space(&mut self) {
        loop {
            self.skip_blanks();
            match self.peek() {
                Some('\n') => {
                    self.next();
                    self.skip_documents();
                }
                Some('#') => self.skip_comment(),
                _ => return,
            }
        }
    }

    /// `NAME in WORDS` of a `for`, up to the end of the line or `;`.
    fn skip_line_of_words(&mut self) {
        loop {
            self.skip_blanks();
            match self.peek() {
                None | Some(';' | '\n' | '&' | '|' | '(' | ')' | '<' | '>') => return,
                _ => self.word(End::File),
            };
        }
    }

    /// A redirection, with its target.
    fn redirection(&mut self, end: End) {
        let first = self.next();
        if first == Some('<') && self.peek() == Some('<') && self.peek_at(1) != Some('<') {
            self.next();
            let tabs = self.eat('-');
            self.skip_blanks();
            if let Some(text) = self.word(end).text {
                self.documents.push((text, tabs));
            }
            return;
        }
        while self.peek().is_some_and(|c| "<>&|".contains(c)) {
            self.next();
        }
        self.skip_blanks();
        self.word(end);
    }

    fn skip_documents(&mut self) {
        for (end, tabs) in std::mem::take(&mut self.documents) {
            while self.peek().is_some() {
                let start = self.at;
                self.skip_comment();
                let line: String = self.chars[start..self.at].iter().collect();
                self.next();
                let line = if tabs {
                    line.trim_start_matches('\t')
                } else {
                    &line
                };
                if line == end {
                    break;
                }
            }
        }
    }

    /// Reads a word; commands in its substitutions are noted.
    fn word(&mut self, end: End) -> Word {
        let mut text = Some(String::new());
        let mut word = Word {
            text: None,
            beginning: String::new(),
            quoted: false,
            assignment: false,
        };
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '`' if end == End::Char('`') => break,
                _ => self.next(),
            };
            match c {
                '\\' => {
                    word.quoted = true;
                    match self.next() {
                        Some('\n') | None => {}
                        Some(c) => push(&mut text, c),
                    }
                }
                '\'' => {
                    word.quoted = true;
                    while let Some(c) = self.next().filter(|c| *c != '\'') {
                        push(&mut text, c);
                    }
                }
                '"' => {
                    word.quoted = true;
                    self.double_quotes(&mut text, &mut word.beginning);
                }
                '$' | '`' => {
                    self.substitution(c);
                    forget(&mut text, &mut word.beginning);
                }
                '=' if !word.quoted && text.as_deref().is_some_and(is_variable) => {
                    word.assignment = true;
                    push(&mut text, c);
                }
                '*' | '?' | '~' => forget(&mut text, &mut word.beginning),
                '[' if !matches!(self.peek(), None | Some(' ' | '\t' | '[')) => {
                    forget(&mut text, &mut word.beginning);
                }
                _ => push(&mut text, c),
            }
        }
        word.text = text;
        word
    }

    fn double_quotes(&mut self, text: &mut Option<String>, beginning: &mut String) {
        while let Some(c) = self.next() {
            match c {
                '"' => return,
                '\\' => {
                    if let Some(c) = self.next() {
                        push(text, c);
                    }
                }
                '$' | '`' => {
                    self.substitution(c);
                    forget(text, beginning);
                }
                _ => push(text, c),
            }
        }
    }

    /// What follows a `$`, or a backquote.
    fn substitution(&mut self, first: char) {
        if first == '`' {
            self.list(End::Char('`'));
            return;
        }
        match self.peek() {
            Some('(') if self.peek_at(1) == Some('(') => {
                self.at += 2;
                self.skip_arithmetic();
            }
            Some('(') => {
                self.next();
                self.list(End::Char(')'));
            }
            Some('{') => self.skip_braces(),
            Some('#' | '?' | '$' | '!' | '@' | '*' | '-') => self.at += 1,
            _ => {
                while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
                    self.at += 1;
                }
            }
        }
    }

    /// Up to the `))` that ends an arithmetic expression.
    fn skip_arithmetic(&mut self) {
        let mut open = 2;
        while open > 0 {
            match self.next() {
                Some('(') => open += 1,
                Some(')') => open -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    /// `{NAME…}`, with what is quoted and nested in it.
    fn skip_braces(&mut self) {
        let mut open = 0;
        while let Some(c) = self.next() {
            match c {
                '{' => open += 1,
                '}' => open -= 1,
                '\\' => {
                    self.next();
                }
                '$' if self.peek() == Some('(') => self.substitution('$'),
                _ => {}
            }
            if open == 0 {
                return;
            }
        }
    }
}

fn push(text: &mut Option<String>, c: char) {
    if let Some(text) = text {
        text.push(c);
    }
}

/// From here on the word depends on the run: keeps what is known of it.
fn forget(text: &mut Option<String>, beginning: &mut String) {
    if let Some(known) = text.take() {
        *beginning = known;
    }
}

fn is_variable(text: &str) -> bool {
    let text = text.strip_suffix('+').unwrap_or(text);
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Rules;

    fn scan(text: &str) -> Script {
        super::scan(text, &Rules::built_in().unwrap().scripts)
    }

    #[test]
    fn commands_are_found_where_the_shell_finds_them() {
        let cases: [(&str, &[&str]); 29] = [
            ("a b c\nd", &["a", "d"]),
            ("# a\n#b\nc # d", &["c"]),
            ("a; b & c && d || e | f", &["a", "b", "c", "d", "e", "f"]),
            ("X=1 Y=\"$(a)\" b", &["a", "b"]),
            ("X=`a b`", &["a"]),
            ("echo \"x $(a \"$(b)\") y\"", &["echo", "a", "b"]),
            ("echo 'no $(a)' \"; b\"", &["echo"]),
            (
                "if a; then b; elif c; then d; else e; fi",
                &["a", "b", "c", "d", "e"],
            ),
            ("while ! a; do b; done", &["a", "b"]),
            ("for x in a b $(c); do d; done", &["c", "d"]),
            ("for x; do d; done", &["d"]),
            ("case $1 in a) b;; c|d) e;; *) f; esac; g", &["b", "e", "f", "g"]),
            (
                "case \"$x\" in\n  (start)\n    a ;;\n  # c\n  *)\n    b\nesac\nc",
                &["a", "b", "c"],
            ),
            ("x=$(case $1 in a) b;; esac)\nc", &["b", "c"]),
            (
                "case a in a) case b in c) d;; esac;; e) f;; esac\ng",
                &["d", "f", "g"],
            ),
            ("cat <<EOF\na b\n$x\nEOF\nc", &["cat", "c"]),
            ("cat <<-'END' > x\n\ta\n\tEND\nc", &["cat", "c"]),
            ("a > b 2>&1 < c >> d", &["a"]),
            ("2>/dev/null a", &["a"]),
            ("(a; b) | { c; }", &["a", "b", "c"]),
            ("f() { a; }\nfunction g { b; }\nh () (c)", &["a", "b", "c"]),
            ("$X a\n\"$Y/b\" c\n${Z:-d} e", &[]),
            ("a \\\n b\nc", &["a", "c"]),
            (
                "exec a\nnohup b &\nsudo -u x c",
                &["exec", "a", "nohup", "b", "sudo"],
            ),
            ("x=$((1 + (2 * 3)))\na $((b))", &["a"]),
            (
                "[ -x /usr/local/bin/a ] && /usr/local/bin/a",
                &["[", "/usr/local/bin/a"],
            ),
            ("echo ${x%%(*} \"${y#\\}}\" b", &["echo"]),
            ("a 'multi\nline' ; b", &["a", "b"]),
            ("eval \"a $b; c\"", &["eval"]),
        ];
        for (text, wanted) in cases {
            let found: Vec<_> = scan(text).calls.into_iter().map(|call| call.name).collect();
            assert_eq!(found, wanted, "{text}");
        }
    }

    #[test]
    fn lines_functions_probes_and_sourced_files_are_told() {
        let script = scan(
            "#!/bin/sh\n. /etc/init.d/tc-functions\n. \"/etc/default/$CONF\"\nstart() {\n  command -v nginx >/dev/null || exit \
             1\n  [ -x /bin/b ] && /bin/b\n  which c\n  type -p d\n}\nstart",
        );
        assert_eq!(script.functions, BTreeSet::from(["start".to_owned()]));
        let probed = ["/bin/b", "c", "d", "nginx"].map(str::to_owned);
        assert_eq!(script.probed, BTreeSet::from(probed));
        assert_eq!(
            script.sourced,
            [
                Sourced::Path("/etc/init.d/tc-functions".to_owned()),
                Sourced::Beginning("/etc/default/".to_owned())
            ]
        );
        let last = script.calls.last().unwrap();
        assert_eq!((last.line, last.name.as_str()), (10, "start"));
    }

    #[test]
    fn anything_is_read_to_its_end() {
        for text in [
            "'",
            "\"",
            "$(",
            "`",
            "${",
            "$((",
            "<<",
            "case",
            "case x in",
            "case x in a",
            "f(",
            "\\",
            "[",
            "((",
            "for",
            "<<E\n",
        ] {
            scan(text);
            scan(&text.repeat(1000));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[a-z $`'\"(){};&|<>\\\\\n#=\\[\\]]{0,200}|(case|esac|in|;;|\n|\\)| |x|\\$\\(|`|\"){0,80}") {
            scan(&text);
        }
    }
}
