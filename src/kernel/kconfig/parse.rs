//! Reading Kconfig files: which options there are, of what type, and what they
//! depend on. Prompts' texts, defaults and help texts are passed over. A line
//! that is not understood is passed over too: kernels' own tools judge their
//! files; this only explains what those tools did.

use std::collections::HashSet;
use std::sync::Arc;

use super::expr::Expr;
use super::{Definition, Kconfig, Kind, Place};

/// How deep files are read from files: in kernels it is five.
const DEEPEST: usize = 32;

/// Reads a file by its name in the tree; `None` if there is none.
pub(super) type Read<'a> = dyn Fn(&str) -> Option<String> + 'a;

pub(super) struct Parser<'a> {
    read: &'a Read<'a>,
    // What `$(SRCARCH)` is.
    arch: &'a str,
    kconfig: Kconfig,
    // Each is read once: no kernel's tree names one twice.
    files: HashSet<String>,
    frames: Vec<Frame>,
    current: Current,
}

/// What the following entries lie in.
struct Frame {
    kind: FrameKind,
    depends: Vec<Arc<Expr>>,
    // For prompts only: `visible if`.
    visible: Vec<Arc<Expr>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    If,
    Menu,
    Choice(usize),
}

/// What the following attributes are of.
enum Current {
    Nothing,
    Frame,
    Option(Open),
}

/// An option under way.
struct Open {
    name: String,
    place: Place,
    kind: Option<Kind>,
    prompt: Option<Arc<Expr>>,
    depends: Vec<Arc<Expr>>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(arch: &'a str, read: &'a Read<'a>) -> Self {
        Self {
            read,
            arch,
            kconfig: Kconfig::default(),
            files: HashSet::new(),
            frames: Vec::new(),
            current: Current::Nothing,
        }
    }

    pub(super) fn finish(mut self) -> Kconfig {
        self.close();
        self.kconfig
    }

    /// Reads a file and those that it names.
    pub(super) fn file(&mut self, path: &str, depth: usize) {
        if depth > DEEPEST || !self.files.insert(path.to_owned()) {
            return;
        }
        let Some(text) = (self.read)(path) else { return };
        let mut lines = text.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let mut line = line.to_owned();
            while line.ends_with('\\') {
                line.pop();
                match lines.next() {
                    Some((_, next)) => line.push_str(next),
                    None => break,
                }
            }
            if matches!(line.trim(), "help" | "---help---") {
                skip_help(&mut lines);
                continue;
            }
            let place = || Place {
                file: path.to_owned(),
                line: number + 1,
            };
            self.line(line.trim(), &place, depth);
        }
    }

    fn line(&mut self, line: &str, place: &dyn Fn() -> Place, depth: usize) {
        let (word, rest) = split_word(line);
        match word {
            "config" | "menuconfig" => self.open(rest, place()),
            "menu" => self.enter(FrameKind::Menu, Vec::new()),
            "choice" => {
                let id = self.kconfig.choices.len();
                self.kconfig.choices.push(Vec::new());
                self.enter(FrameKind::Choice(id), Vec::new());
            }
            "if" => self.enter(FrameKind::If, vec![Expr::parse(rest)]),
            "endif" | "endmenu" | "endchoice" => {
                self.close();
                self.frames.pop();
            }
            "comment" | "mainmenu" => self.close(),
            "source" | "osource" | "rsource" | "orsource" => {
                self.close();
                if let Some(path) = self.sourced(word, rest, &place().file) {
                    self.file(&path, depth + 1);
                }
            }
            _ => self.attribute(word, rest),
        }
    }

    fn open(&mut self, name: &str, place: Place) {
        self.close();
        let (name, _) = split_word(name);
        if super::super::config::is_name(name) {
            self.current = Current::Option(Open {
                name: name.to_owned(),
                place,
                kind: None,
                prompt: None,
                depends: Vec::new(),
            });
        }
    }

    fn enter(&mut self, kind: FrameKind, depends: Vec<Arc<Expr>>) {
        self.close();
        self.frames.push(Frame {
            kind,
            depends,
            visible: Vec::new(),
        });
        self.current = Current::Frame;
    }

    /// The attributes of an entry, or of the menu or choice just entered.
    fn attribute(&mut self, word: &str, rest: &str) {
        let on = rest.strip_prefix("on").map(Expr::parse);
        match &mut self.current {
            Current::Nothing => {}
            Current::Frame => {
                let Some(frame) = self.frames.last_mut() else {
                    return;
                };
                match (word, on) {
                    ("depends", Some(expr)) => frame.depends.push(expr),
                    ("visible", _) => {
                        let rest = rest.strip_prefix("if").unwrap_or(rest);
                        frame.visible.push(Expr::parse(rest));
                    }
                    _ => {}
                }
            }
            Current::Option(open) => match (word, on) {
                ("depends", Some(expr)) => open.depends.push(expr),
                ("prompt", _) => open.prompt = Some(condition(rest)),
                ("select", _) => {
                    let (name, _) = split_word(rest);
                    let by = self.kconfig.selected_by.entry(name.to_owned()).or_default();
                    by.push((open.name.clone(), condition(rest)));
                }
                ("modules", _) => {}
                _ => open.typed(word, rest),
            },
        }
    }

    /// The file of a `source` line; `None` for one outside the tree.
    fn sourced(&self, word: &str, rest: &str, from: &str) -> Option<String> {
        let quoted = rest.trim_matches(['"', '\'']);
        let mut path = quoted.to_owned();
        for name in ["SRCARCH", "ARCH", "HEADER_ARCH"] {
            path = path.replace(&format!("$({name})"), self.arch);
            path = path.replace(&format!("${name}"), self.arch);
        }
        if matches!(word, "rsource" | "orsource")
            && let Some((folder, _)) = from.rsplit_once('/')
        {
            path = format!("{folder}/{path}");
        }
        let inside = !path.starts_with('/') && path.split('/').all(|part| part != "..");
        (inside && !path.contains('$')).then_some(path)
    }

    /// Ends the option under way.
    fn close(&mut self) {
        let Current::Option(open) = std::mem::replace(&mut self.current, Current::Nothing) else {
            return;
        };
        let mut depends = Vec::new();
        for frame in &self.frames {
            depends.extend(frame.depends.iter().cloned());
        }
        depends.extend(open.depends);
        let visible = self.frames.iter().flat_map(|frame| frame.visible.iter().cloned());
        let prompt = open
            .prompt
            .map(|own| Arc::new(Expr::And(visible.chain([own]).collect())));
        let choice = self.frames.iter().rev().find_map(|frame| match frame.kind {
            FrameKind::Choice(id) => Some(id),
            FrameKind::If => None,
            FrameKind::Menu => Some(usize::MAX),
        });
        let choice = choice.filter(|id| *id != usize::MAX);
        if let Some(id) = choice {
            self.kconfig.choices[id].push(open.name.clone());
        }
        let symbol = self.kconfig.symbols.entry(open.name).or_default();
        symbol.kind = symbol.kind.or(open.kind);
        symbol.definitions.push(Definition {
            place: open.place,
            depends: Expr::And(depends),
            prompt,
            choice,
        });
    }
}

impl Open {
    /// `bool "prompt" if CONDITION`, `def_bool y`, …
    fn typed(&mut self, word: &str, rest: &str) {
        let (kind, prompted) = match word {
            "bool" | "boolean" => (Kind::Bool, true),
            "tristate" => (Kind::Tristate, true),
            "int" => (Kind::Int, true),
            "hex" => (Kind::Hex, true),
            "string" => (Kind::Text, true),
            "def_bool" => (Kind::Bool, false),
            "def_tristate" => (Kind::Tristate, false),
            _ => return,
        };
        self.kind = Some(kind);
        if prompted && rest.starts_with(['"', '\'']) {
            self.prompt = Some(condition(rest));
        }
    }
}

/// What is behind ` if ` and not in quotes.
fn condition(rest: &str) -> Arc<Expr> {
    let mut quote = None;
    for (at, c) in rest.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, 'i') => {
                let before = rest[..at].ends_with([' ', '\t', '"', '\'']);
                if before
                    && let Some(expr) = rest[at..].strip_prefix("if")
                    && expr.starts_with([' ', '\t', '('])
                {
                    return Expr::parse(expr);
                }
            }
            _ => {}
        }
    }
    Arc::new(Expr::TRUE)
}

fn split_word(line: &str) -> (&str, &str) {
    let end = line
        .find(|c: char| c.is_whitespace() || c == '"')
        .unwrap_or(line.len());
    (&line[..end], line[end..].trim())
}

/// Skips a help text: all lines that are indented at least as its first one.
fn skip_help<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = (usize, &'a str)>>) {
    let mut first = None;
    while let Some((_, line)) = lines.peek() {
        if !line.trim().is_empty() {
            let indent = indent(line);
            if indent == 0 || indent < *first.get_or_insert(indent) {
                return;
            }
        }
        lines.next();
    }
}

/// The column of the first character; tabs are eight wide.
fn indent(line: &str) -> usize {
    let blanks = line.chars().take_while(|c| matches!(c, ' ' | '\t'));
    blanks.fold(0, |column, c| match c {
        '\t' => (column / 8 + 1) * 8,
        _ => column + 1,
    })
}
