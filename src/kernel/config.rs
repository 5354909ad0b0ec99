//! A kernel configuration as data: its options, and its text to the letter.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::ops::Range;

use super::fault::{ConfigFault, InvalidConfig, Mistake};
use super::kconfig::Kconfig;
use super::value::{Tristate, Value};
use super::version::KernelVersion;

/// A kernel configuration (`.config`): lines in their order, comments included.
/// What was read and not changed is written back as it was.
#[derive(Debug, Clone, Default)]
pub struct Config {
    name: String,
    lines: Vec<Line>,
    // The line of each option.
    index: HashMap<String, usize>,
    version: Option<Header>,
}

#[derive(Debug, Clone)]
struct Line {
    // With its line end, which only the last line may lack.
    text: String,
    option: Option<(String, Value)>,
}

/// What `# Linux/x86 5.4.3 Kernel Configuration` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Header {
    release: String,
    version: KernelVersion,
}

/// What one line is.
enum Parsed<'a> {
    Other,
    Header(Header),
    Option(&'a str, Value),
}

impl Config {
    /// Parses a configuration; `name` is what messages call the file.
    pub fn parse(name: &str, text: &str) -> Result<Self, InvalidConfig> {
        let mut config = Self {
            name: name.to_owned(),
            ..Self::default()
        };
        let mut mistakes = Vec::new();
        let mut offset = 0;
        for (number, whole) in text.split_inclusive('\n').enumerate() {
            let line = whole.strip_suffix('\n').unwrap_or(whole);
            let mut wrong = |span: Range<usize>, fault| {
                mistakes.push(Mistake {
                    fault,
                    line: number + 1,
                    span: offset + span.start..offset + span.end,
                });
            };
            match parse_line(line) {
                Ok(parsed) => {
                    if let Err(fault) = config.add(number, whole, parsed) {
                        wrong(0..line.len(), fault);
                    }
                }
                Err((span, fault)) => wrong(span, fault),
            }
            offset += whole.len();
        }
        // One is enough: whoever has one has them all.
        let mut crs = 0;
        mistakes.retain(|mistake: &Mistake| {
            mistake.fault != ConfigFault::CrLf || {
                crs += 1;
                crs == 1
            }
        });
        match mistakes.is_empty() {
            true => Ok(config),
            false => Err(InvalidConfig::new(name, text, mistakes)),
        }
    }

    fn add(&mut self, number: usize, text: &str, parsed: Parsed<'_>) -> Result<(), ConfigFault> {
        let option = match parsed {
            Parsed::Other => None,
            Parsed::Header(header) => {
                self.version.get_or_insert(header);
                None
            }
            Parsed::Option(name, value) => match self.index.entry(name.to_owned()) {
                Entry::Occupied(first) => {
                    return Err(ConfigFault::Twice {
                        name: name.to_owned(),
                        first: first.get() + 1,
                    });
                }
                Entry::Vacant(place) => {
                    place.insert(number);
                    Some((name.to_owned(), value))
                }
            },
        };
        self.lines.push(Line {
            text: text.to_owned(),
            option,
        });
        Ok(())
    }

    /// What messages call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's whole version as the header comment has it (`5.4.3`).
    pub fn release(&self) -> Option<&str> {
        self.version.as_ref().map(|header| header.release.as_str())
    }

    /// The kernel's version, from the header comment.
    pub fn version(&self) -> Option<KernelVersion> {
        self.version.as_ref().map(|header| header.version)
    }

    /// What an option is set to, by its name without `CONFIG_`; `None` if the
    /// configuration does not name it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let (_, value) = self.lines[*self.index.get(name)?].option.as_ref()?;
        Some(value)
    }

    /// What an option that is on or off is: off too if it is not named.
    pub fn tristate(&self, name: &str) -> Tristate {
        match self.get(name) {
            Some(Value::Tristate(value)) => *value,
            Some(_) => Tristate::Yes,
            None => Tristate::No,
        }
    }

    /// All options that are named, in the file's order.
    pub fn options(&self) -> impl Iterator<Item = (&str, &Value)> {
        let options = self.lines.iter().filter_map(|line| line.option.as_ref());
        options.map(|(name, value)| (name.as_str(), value))
    }

    /// The line that sets an option, without its end.
    pub fn line(name: &str, value: &Value) -> String {
        match value {
            Value::Tristate(Tristate::No) => format!("# CONFIG_{name} is not set"),
            value => format!("CONFIG_{name}={value}"),
        }
    }

    /// Sets an option: in its line if it has one, else in a new one behind that
    /// of `after`, or at the end.
    pub fn set(&mut self, name: &str, value: Value, after: Option<&str>) {
        let line = Line {
            text: Self::line(name, &value) + "\n",
            option: Some((name.to_owned(), value)),
        };
        if let Some(at) = self.index.get(name) {
            self.lines[*at] = line;
            return;
        }
        let after = after.and_then(|name| self.index.get(name));
        let at = after.map_or(self.lines.len(), |at| at + 1);
        if let Some(before) = at.checked_sub(1).and_then(|at| self.lines.get_mut(at))
            && !before.text.ends_with('\n')
        {
            before.text.push('\n');
        }
        self.lines.insert(at, line);
        self.reindex(at);
    }

    /// Removes an option's line; `false` if it has none.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some(at) = self.index.remove(name) else {
            return false;
        };
        self.lines.remove(at);
        self.reindex(at);
        true
    }

    fn reindex(&mut self, from: usize) {
        for (at, line) in self.lines.iter().enumerate().skip(from) {
            if let Some((name, _)) = &line.option {
                self.index.insert(name.clone(), at);
            }
        }
    }

    /// Finds options that a kernel does not have, and values that it does not
    /// take; to be asked only of the kernel that the configuration is for.
    pub fn check_against(&self, kconfig: &Kconfig) -> Result<(), InvalidConfig> {
        let mut mistakes = Vec::new();
        let mut offset = 0;
        for (number, line) in self.lines.iter().enumerate() {
            if let Some((name, value)) = &line.option
                && let Err(fault) = kconfig.check(name, value)
            {
                mistakes.push(Mistake {
                    fault,
                    line: number + 1,
                    span: offset..offset + line.text.trim_end().len(),
                });
            }
            offset += line.text.len();
        }
        match mistakes.is_empty() {
            true => Ok(()),
            false => Err(InvalidConfig::new(&self.name, &self.to_string(), mistakes)),
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| f.write_str(&line.text))
    }
}

/// What a line without its end is; or what of it is wrong.
fn parse_line(line: &str) -> Result<Parsed<'_>, (Range<usize>, ConfigFault)> {
    if line.ends_with('\r') {
        return Err((line.len() - 1..line.len(), ConfigFault::CrLf));
    }
    let control = |(_, c): &(usize, char)| c.is_control() && *c != '\t';
    if let Some((at, c)) = line.char_indices().find(control) {
        return Err((at..at + c.len_utf8(), ConfigFault::Control));
    }
    if let Some(name) = unset(line) {
        return Ok(Parsed::Option(name, Value::NO));
    }
    if let Some(comment) = line.strip_prefix('#') {
        return Ok(header(comment).map_or(Parsed::Other, Parsed::Header));
    }
    if line.trim().is_empty() {
        return Ok(Parsed::Other);
    }
    let option = line.strip_prefix("CONFIG_").and_then(|rest| rest.split_once('='));
    let Some((name, value)) = option.filter(|(name, _)| is_name(name)) else {
        return Err((0..line.len(), ConfigFault::NotALine));
    };
    value
        .parse()
        .map(|value| Parsed::Option(name, value))
        .map_err(|()| {
            let fault = ConfigFault::NoValue {
                name: name.to_owned(),
                value: value.to_owned(),
            };
            (line.len() - value.len()..line.len(), fault)
        })
}

/// The option of `# CONFIG_NAME is not set`.
fn unset(line: &str) -> Option<&str> {
    let name = line.strip_prefix("# CONFIG_")?.strip_suffix(" is not set")?;
    is_name(name).then_some(name)
}

/// The version in ` Linux/x86 5.4.3 Kernel Configuration`.
fn header(comment: &str) -> Option<Header> {
    let words = comment
        .strip_prefix(" Linux/")?
        .strip_suffix(" Kernel Configuration")?;
    let (_, release) = words.split_once(' ')?;
    Some(Header {
        version: release.parse().ok()?,
        release: release.to_owned(),
    })
}

/// Whether a text can be an option's name: `CONFIG_` left out.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_written_back_as_it_was() {
        for text in [
            "",
            "CONFIG_A=y",
            "#\n# Linux/x86 5.4.3 Kernel Configuration\n#\nCONFIG_A=y\n\n# CONFIG_B is not set\nCONFIG_C=0x10\n# end of x\n",
            "# CONFIG_ is a comment, and so is this is not set\n#CONFIG_A=y\n",
            "CONFIG_64BIT=y\nCONFIG_S=\"a # \\\"b\\\"\"\n",
        ] {
            assert_eq!(Config::parse("t", text).unwrap().to_string(), text);
        }
        let config = Config::parse(
            "t",
            "# Linux/x86 5.4.3 Kernel Configuration\nCONFIG_A=m\n# CONFIG_B is not set\n",
        );
        let config = config.unwrap();
        assert_eq!(config.version(), Some(KernelVersion::new(5, 4)));
        assert_eq!(config.release(), Some("5.4.3"));
        assert_eq!(config.get("A"), Some(&Value::MODULE));
        assert_eq!(config.get("B"), Some(&Value::NO));
        assert_eq!(config.get("C"), None);
        assert_eq!(config.tristate("C"), Tristate::No);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, wanted) in [
            (
                "CONFIG_A=y\nnonsense\n",
                vec![(2, "nonsense", "this is no configuration line")],
            ),
            ("CONFIG_A=yes\n", vec![(1, "yes", "`CONFIG_A` cannot be `yes`")]),
            ("CONFIG_A=\n", vec![(1, "", "`CONFIG_A` cannot be ``")]),
            (
                "CONFIG_A=\"open\n",
                vec![(1, "\"open", "`CONFIG_A` cannot be `\"open`")],
            ),
            (
                "CONFIG_A-B=y\n",
                vec![(1, "CONFIG_A-B=y", "this is no configuration line")],
            ),
            (
                " CONFIG_A=y\n",
                vec![(1, " CONFIG_A=y", "this is no configuration line")],
            ),
            ("A=y\n", vec![(1, "A=y", "this is no configuration line")]),
            (
                "CONFIG_A=y\n# CONFIG_A is not set\n",
                vec![(
                    2,
                    "# CONFIG_A is not set",
                    "`CONFIG_A` is set twice, first in line 1",
                )],
            ),
            (
                "CONFIG_A=y\r\nCONFIG_B=y\r\n",
                vec![(1, "\r", "the line ends with CR LF")],
            ),
            (
                "# \u{7}\n",
                vec![(1, "\u{7}", "there is a control character in the line")],
            ),
            (
                "x\nCONFIG_A=1y\n",
                vec![
                    (1, "x", "this is no configuration line"),
                    (2, "1y", "`CONFIG_A` cannot be `1y`"),
                ],
            ),
        ] {
            let invalid = Config::parse("t", text).unwrap_err();
            let found: Vec<_> = invalid
                .mistakes
                .iter()
                .map(|one| (one.line, &text[one.span.clone()], one.fault.to_string()))
                .collect();
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|(line, at, says)| (line, at, says.to_owned()))
                .collect();
            assert_eq!(found, wanted, "{text:?}");
        }
        let invalid = Config::parse("t", &"x\n".repeat(100_000)).unwrap_err();
        assert_eq!(invalid.mistakes.len(), 100);
    }

    #[test]
    fn options_are_set_in_their_line_or_behind_another() {
        let mut config = Config::parse("t", "CONFIG_A=y\n# c\nCONFIG_B=y").unwrap();
        config.set("A", Value::MODULE, None);
        config.set("N", Value::YES, Some("A"));
        config.set("Z", Value::NO, Some("NOWHERE"));
        assert_eq!(
            config.to_string(),
            "CONFIG_A=m\nCONFIG_N=y\n# c\nCONFIG_B=y\n# CONFIG_Z is not set\n"
        );
        assert!(config.remove("N") && !config.remove("N"));
        config.set("B", Value::NO, None);
        assert_eq!(
            config.to_string(),
            "CONFIG_A=m\n# c\n# CONFIG_B is not set\n# CONFIG_Z is not set\n"
        );
    }
}
