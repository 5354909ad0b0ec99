//! What a kernel's Kconfig files say of its options: their types, and why one
//! cannot be turned on in a configuration.

mod expr;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::config::Config;
use super::fault::ConfigFault;
use super::value::{Tristate, Value};

pub use expr::{Expr, Operand, Relation};

/// The most that is read of one Kconfig file: the largest has 100 KB.
const LARGEST_FILE: u64 = 4 << 20;

/// The options of a kernel.
#[derive(Debug, Default)]
pub struct Kconfig {
    symbols: BTreeMap<String, Symbol>,
    // By whom, and on what condition.
    selected_by: BTreeMap<String, Vec<(String, Arc<Expr>)>>,
    choices: Vec<Vec<String>>,
}

#[derive(Debug, Default)]
struct Symbol {
    kind: Option<Kind>,
    definitions: Vec<Definition>,
}

/// One of the places that an option is defined at.
#[derive(Debug)]
struct Definition {
    place: Place,
    depends: Expr,
    // On what condition a person is asked; `None` for never.
    prompt: Option<Arc<Expr>>,
    choice: Option<usize>,
}

/// A line of a Kconfig file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, from the top of the tree.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An option's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On or off.
    Bool,
    /// On, a module, or off.
    Tristate,
    /// A decimal number.
    Int,
    /// A hexadecimal number.
    Hex,
    /// A text.
    Text,
}

impl Kind {
    /// What can be set, for hints.
    pub(super) fn values(self) -> &'static str {
        match self {
            Self::Bool => "write `y`, or `# CONFIG_NAME is not set`; it is no module",
            Self::Tristate => "write `y`, `m`, or `# CONFIG_NAME is not set`",
            Self::Int => "write a decimal number",
            Self::Hex => "write 0x and hexadecimal digits",
            Self::Text => "write the text in double quotes",
        }
    }

    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Bool => matches!(value, Value::Tristate(Tristate::Yes | Tristate::No)),
            Self::Tristate => matches!(value, Value::Tristate(_)),
            Self::Int => matches!(value, Value::Int(_)),
            Self::Hex => matches!(value, Value::Hex(_) | Value::Int(_)),
            Self::Text => matches!(value, Value::Text(_)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "on or off",
            Self::Tristate => "on, a module, or off",
            Self::Int => "a number",
            Self::Hex => "a hexadecimal number",
            Self::Text => "a text",
        })
    }
}

/// Why an option cannot be what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// The kernel does not have it.
    Unknown {
        /// What it was probably meant to be.
        nearest: Option<String>,
    },
    /// It depends on what is not so.
    Depends {
        /// Where it says so.
        place: Place,
        /// What does not hold.
        condition: String,
        /// The options in it that are to be changed, and what they are.
        because: Vec<(String, String)>,
    },
    /// It cannot be chosen, only selected by others.
    OnlySelected {
        /// Where it is defined.
        place: Place,
        /// By which, some of them.
        by: Vec<String>,
    },
    /// Another of the same choice is on.
    Choice {
        /// Where it is defined.
        place: Place,
        /// The other.
        chosen: String,
    },
    /// Something else on is selecting it, or Kconfig says it in a way that is
    /// not read here.
    Unexplained {
        /// Where it is defined.
        place: Place,
    },
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { nearest: None } => f.write_str("this kernel has no such option"),
            Self::Unknown {
                nearest: Some(nearest),
            } => write!(f, "this kernel has no such option; did you mean {nearest}?"),
            Self::Depends {
                place,
                condition,
                because,
            } => {
                let list: Vec<_> = because
                    .iter()
                    .map(|(name, is)| format!("{name} is {is}"))
                    .collect();
                write!(f, "it depends on `{condition}` ({place})")?;
                match list.is_empty() {
                    true => Ok(()),
                    false => write!(f, ", and {}", list.join(", ")),
                }
            }
            Self::OnlySelected { place, by } if by.is_empty() => {
                write!(f, "it cannot be chosen, only follows from others ({place})")
            }
            Self::OnlySelected { place, by } => write!(
                f,
                "it cannot be chosen, only follows from others ({place}), such as {}",
                by.join(", ")
            ),
            Self::Choice { place, chosen } => {
                write!(
                    f,
                    "only one of a choice can be on ({place}), and that is {chosen}"
                )
            }
            Self::Unexplained { place } => write!(f, "{place} may say why"),
        }
    }
}

/// How many of those that select an option are named.
const NAMED: usize = 3;

impl Kconfig {
    /// Reads the Kconfig files of a source tree for an architecture (`x86`).
    /// Files that cannot be read are passed over, as are links out of the tree.
    pub fn load(tree: &Path, arch: &str) -> Self {
        let root = fs::canonicalize(tree).ok();
        let read = |path: &str| {
            let path = fs::canonicalize(tree.join(path)).ok()?;
            let inside = root.as_ref().is_some_and(|root| path.starts_with(root));
            let meta = fs::metadata(&path).ok()?;
            if !inside || !meta.is_file() || meta.len() > LARGEST_FILE {
                return None;
            }
            Some(String::from_utf8_lossy(&fs::read(&path).ok()?).into_owned())
        };
        Self::read(arch, &read)
    }

    /// Reads Kconfig files from the one called `Kconfig` on, through `read`.
    pub fn read(arch: &str, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut parser = parse::Parser::new(arch, read);
        parser.file("Kconfig", 0);
        parser.finish()
    }

    /// Whether the kernel has an option.
    pub fn has(&self, name: &str) -> bool {
        self.symbols.contains_key(name)
    }

    /// How many options there are.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether there are none: then it was no kernel's tree.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// An option's type; `None` if there is none of the name.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.symbols.get(name)?.kind
    }

    /// The option that a name was probably meant to be.
    pub fn nearest(&self, name: &str) -> Option<String> {
        let names = self.symbols.keys().map(|known| {
            let distance = strsim::damerau_levenshtein(name, known);
            (distance, known)
        });
        let near = names.filter(|(distance, _)| *distance <= (name.len() / 3).clamp(1, 3));
        near.min().map(|(_, known)| known.clone())
    }

    /// Whether an option is there and can have a value.
    pub(super) fn check(&self, name: &str, value: &Value) -> Result<(), ConfigFault> {
        let Some(symbol) = self.symbols.get(name) else {
            return Err(ConfigFault::Unknown {
                name: name.to_owned(),
                nearest: self.nearest(name),
            });
        };
        match symbol.kind {
            Some(kind) if !kind.takes(value) => Err(ConfigFault::WrongType {
                name: name.to_owned(),
                kind,
                value: value.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Why an option is below `want` in a configuration that the kernel's own
    /// tools have completed.
    pub fn unmet(&self, name: &str, want: Tristate, config: &Config) -> Unmet {
        let Some(symbol) = self.symbols.get(name) else {
            return Unmet::Unknown {
                nearest: self.nearest(name),
            };
        };
        let reasons = symbol
            .definitions
            .iter()
            .map(|one| self.reason(name, one, want, config));
        // The definition that comes nearest to being met.
        let rank = |unmet: &Unmet| match unmet {
            Unmet::Unexplained { .. } => 0,
            Unmet::Choice { .. } => 1,
            Unmet::Depends { because, .. } => 2 + because.len(),
            _ => usize::MAX,
        };
        reasons
            .min_by_key(rank)
            .unwrap_or(Unmet::Unknown { nearest: None })
    }

    fn reason(&self, name: &str, definition: &Definition, want: Tristate, config: &Config) -> Unmet {
        let place = definition.place.clone();
        if let Some(unmet) = self.failing(&definition.depends, &place, want, config) {
            return unmet;
        }
        let Some(prompt) = &definition.prompt else {
            let by = self.selected_by.get(name).into_iter().flatten();
            return Unmet::OnlySelected {
                place,
                by: by.map(|(by, _)| by.clone()).take(NAMED).collect(),
            };
        };
        if let Some(unmet) = self.failing(prompt, &place, want, config) {
            return unmet;
        }
        let others = definition
            .choice
            .and_then(|id| self.choices.get(id))
            .into_iter()
            .flatten();
        let chosen = others
            .filter(|other| *other != name)
            .find(|other| config.tristate(other) == Tristate::Yes);
        match chosen {
            Some(chosen) => Unmet::Choice {
                place,
                chosen: chosen.clone(),
            },
            None => Unmet::Unexplained { place },
        }
    }

    /// What of a condition keeps an option below `want`.
    fn failing(&self, condition: &Expr, place: &Place, want: Tristate, config: &Config) -> Option<Unmet> {
        let parts = condition.conjuncts();
        let mut failing: Vec<&Expr> = Vec::new();
        for part in parts {
            // Menus and options around it may say the same.
            if part.eval(config) < want && !failing.contains(&part) {
                failing.push(part);
            }
        }
        if failing.is_empty() {
            return None;
        }
        let mut because: Vec<(String, String)> = Vec::new();
        for name in failing.iter().flat_map(|part| part.culprits(want, config)) {
            if because.iter().all(|(known, _)| *known != name) {
                let is = match (config.get(&name), self.has(&name)) {
                    (Some(value), _) => value.to_string(),
                    (None, true) => "n".to_owned(),
                    (None, false) => "not there".to_owned(),
                };
                because.push((name, is));
            }
        }
        let parts: Vec<_> = failing.iter().map(|part| part.to_string()).collect();
        Some(Unmet::Depends {
            place: place.clone(),
            condition: parts.join(" && "),
            because,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: &str = r#"
mainmenu "Linux/$(ARCH) $(KERNELVERSION) Kernel Configuration"
source "scripts/Kconfig.include"
source "arch/$(SRCARCH)/Kconfig"
source "../outside"

menu "Networking"
	depends on NET
config BRIDGE
	tristate "Bridge" \
		if EXPERT
	depends on INET
	depends on IPV6 || IPV6=n
	select LLC
	help
	  config INSIDE_HELP
	  depends on nothing

	    if deeper
config LLC
	tristate

if BRIDGE
config BRIDGE_NETFILTER
	tristate "if in a prompt" if NF
	default m
endif
endmenu

choice
	prompt "Compression"
	default ONE
config ONE
	bool "one"
config TWO
	bool "two"
endchoice
config NUMBER
	int "n"
	range 1 9
config NAME
	string "s"
config ADDRESS
	hex "h"
"#;
    const ARCH: &str = "config NET\n\tbool \"net\"\nconfig INET\n\tdef_bool y\nconfig IPV6\n\ttristate \"6\"\n\
                        config EXPERT\n\tbool\n\tprompt \"expert\"\nconfig NF\n\tbool \"nf\"\n\
                        config NET\n\tbool\n\tdepends on NOTHING\n";

    fn kconfig() -> Kconfig {
        Kconfig::read("x86", &|path| match path {
            "Kconfig" => Some(TOP.to_owned()),
            "arch/x86/Kconfig" => Some(ARCH.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn options_and_types() {
        let kconfig = kconfig();
        for (name, kind) in [
            ("BRIDGE", Some(Kind::Tristate)),
            ("NET", Some(Kind::Bool)),
            ("INET", Some(Kind::Bool)),
            ("ONE", Some(Kind::Bool)),
            ("NUMBER", Some(Kind::Int)),
            ("NAME", Some(Kind::Text)),
            ("ADDRESS", Some(Kind::Hex)),
            ("INSIDE_HELP", None),
        ] {
            assert_eq!(kconfig.kind(name), kind, "{name}");
        }
        assert_eq!(kconfig.len(), 13);
        assert_eq!(
            kconfig.nearest("BRIDGE_NETFLITER").as_deref(),
            Some("BRIDGE_NETFILTER")
        );
        assert_eq!(kconfig.nearest("WHATEVER_ELSE"), None);
    }

    #[test]
    fn what_is_unmet_is_named() {
        let on = "CONFIG_NET=y\nCONFIG_INET=y\nCONFIG_EXPERT=y\nCONFIG_BRIDGE=m\nCONFIG_ONE=y\n";
        for (name, want, config, said) in [
            (
                "BRIDGE",
                Tristate::Yes,
                "",
                "it depends on `NET && INET` (Kconfig:9), and NET is n, INET is n",
            ),
            (
                "BRIDGE",
                Tristate::Yes,
                "CONFIG_NET=y\nCONFIG_INET=y\nCONFIG_IPV6=m\n",
                "it depends on `IPV6 || IPV6=n` (Kconfig:9), and IPV6 is m",
            ),
            (
                "BRIDGE",
                Tristate::Module,
                "CONFIG_NET=y\nCONFIG_INET=y\n",
                "it depends on `EXPERT` (Kconfig:9), and EXPERT is n",
            ),
            ("BRIDGE", Tristate::Yes, on, "Kconfig:9 may say why"),
            (
                "BRIDGE_NETFILTER",
                Tristate::Yes,
                on,
                "it depends on `BRIDGE` (Kconfig:24), and BRIDGE is m",
            ),
            (
                "BRIDGE_NETFILTER",
                Tristate::Module,
                on,
                "it depends on `NF` (Kconfig:24), and NF is n",
            ),
            (
                "LLC",
                Tristate::Yes,
                on,
                "it cannot be chosen, only follows from others (Kconfig:20), such as BRIDGE",
            ),
            (
                "TWO",
                Tristate::Yes,
                on,
                "only one of a choice can be on (Kconfig:35), and that is ONE",
            ),
            (
                "BRIGE",
                Tristate::Yes,
                on,
                "this kernel has no such option; did you mean BRIDGE?",
            ),
        ] {
            let config = Config::parse("t", config).unwrap();
            assert_eq!(kconfig().unmet(name, want, &config).to_string(), said, "{name}");
        }
    }

    #[test]
    fn files_that_read_themselves_end() {
        let kconfig = Kconfig::read("x86", &|path| {
            (path == "Kconfig").then(|| "source \"Kconfig\"\nconfig A\n\tbool\nsource \"x\n".to_owned())
        });
        assert_eq!(kconfig.len(), 1);
    }
}
