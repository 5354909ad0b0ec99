//! Kconfig's expressions (Documentation/kbuild/kconfig-language.rst).

use std::fmt;
use std::sync::Arc;

use super::super::config::{Config, is_name};
use super::super::value::{Tristate, Value};

/// How deep parentheses go: Kconfig files of kernels stay below ten.
const DEEPEST: usize = 64;

/// A condition of Kconfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// `y`, `m` or `n`.
    Const(Tristate),
    /// An option.
    Symbol(String),
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`.
    Compare(Operand, Relation, Operand),
    /// `!`.
    Not(Arc<Expr>),
    /// `&&`, of any number; of none it is `y`.
    And(Vec<Arc<Expr>>),
    /// `||`.
    Or(Vec<Arc<Expr>>),
    /// What only the kernel's build can know (`$(cc-option,…)`), or what could
    /// not be read: taken for `y`.
    Unknown(String),
}

/// A side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// An option, or a bare word.
    Word(String),
    /// A text in quotes.
    Text(String),
    /// A macro.
    Unknown(String),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `=`
    Equal,
    /// `!=`
    Unequal,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

impl Expr {
    /// Always true.
    pub(super) const TRUE: Self = Self::Const(Tristate::Yes);

    /// Reads an expression; what cannot be read is [`Expr::Unknown`].
    pub(super) fn parse(text: &str) -> Arc<Self> {
        let tokens = tokens(text);
        let mut parser = Parser {
            tokens: &tokens,
            depth: 0,
        };
        match parser.or() {
            Some(expr) if parser.tokens.is_empty() => expr,
            _ => Arc::new(Self::Unknown(text.trim().to_owned())),
        }
    }

    /// The expression's value in a configuration.
    pub(super) fn eval(&self, config: &Config) -> Tristate {
        match self {
            Self::Const(value) => *value,
            Self::Symbol(name) => config.tristate(name),
            Self::Compare(left, relation, right) => compare(left, *relation, right, config),
            Self::Not(inner) => match inner.eval(config) {
                Tristate::No => Tristate::Yes,
                Tristate::Module => Tristate::Module,
                Tristate::Yes => Tristate::No,
            },
            Self::And(all) => all
                .iter()
                .map(|one| one.eval(config))
                .min()
                .unwrap_or(Tristate::Yes),
            Self::Or(any) => any
                .iter()
                .map(|one| one.eval(config))
                .max()
                .unwrap_or(Tristate::No),
            Self::Unknown(_) => Tristate::Yes,
        }
    }

    /// The parts that all have to hold.
    pub(super) fn conjuncts(&self) -> Vec<&Expr> {
        match self {
            Self::And(all) => all.iter().flat_map(|one| one.conjuncts()).collect(),
            Self::Const(Tristate::Yes) => Vec::new(),
            other => vec![other],
        }
    }

    /// The options that keep the expression below `want`.
    pub(super) fn culprits(&self, want: Tristate, config: &Config) -> Vec<String> {
        if self.eval(config) >= want {
            return Vec::new();
        }
        let mut found = match self {
            Self::Symbol(name) => vec![name.clone()],
            Self::Compare(left, _, right) => [left, right].into_iter().filter_map(Operand::option).collect(),
            Self::Not(inner) => inner.symbols(),
            Self::And(parts) | Self::Or(parts) => parts
                .iter()
                .flat_map(|part| part.culprits(want, config))
                .collect(),
            Self::Const(_) | Self::Unknown(_) => Vec::new(),
        };
        let mut seen = std::collections::HashSet::new();
        found.retain(|name| seen.insert(name.clone()));
        found
    }

    fn symbols(&self) -> Vec<String> {
        match self {
            Self::Symbol(name) => vec![name.clone()],
            Self::Compare(left, _, right) => [left, right].into_iter().filter_map(Operand::option).collect(),
            Self::Not(inner) => inner.symbols(),
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(|part| part.symbols()).collect(),
            Self::Const(_) | Self::Unknown(_) => Vec::new(),
        }
    }
}

impl Operand {
    /// The option that it may be: options are in capitals, unlike `y` and `64`.
    fn option(&self) -> Option<String> {
        match self {
            Self::Word(word) if word.starts_with(|c: char| c.is_ascii_uppercase()) => Some(word.clone()),
            _ => None,
        }
    }

    /// Its value as Kconfig compares it: without quotes; `None` if only the
    /// kernel's build knows it.
    fn value(&self, config: &Config) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Unknown(_) => None,
            Self::Word(word) => Some(match (config.get(word), self.option()) {
                (Some(Value::Text(text)), _) => text.clone(),
                (Some(value), _) => value.to_string(),
                (None, Some(_)) => "n".to_owned(),
                (None, None) => word.clone(),
            }),
        }
    }
}

fn compare(left: &Operand, relation: Relation, right: &Operand, config: &Config) -> Tristate {
    let (Some(left), Some(right)) = (left.value(config), right.value(config)) else {
        return Tristate::Yes;
    };
    let order = match (number(&left), number(&right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        _ => left.cmp(&right),
    };
    let holds = match relation {
        Relation::Equal => order.is_eq(),
        Relation::Unequal => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::AtMost => order.is_le(),
        Relation::More => order.is_gt(),
        Relation::AtLeast => order.is_ge(),
    };
    match holds {
        true => Tristate::Yes,
        false => Tristate::No,
    }
}

fn number(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Not,
    And,
    Or,
    Relation(Relation),
    Operand(Operand),
    Bad,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (token, length) = token(rest);
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The first token and its length in bytes, which is never 0.
fn token(text: &str) -> (Token, usize) {
    const SIGNS: [(&str, Token); 11] = [
        ("&&", Token::And),
        ("||", Token::Or),
        ("!=", Token::Relation(Relation::Unequal)),
        ("<=", Token::Relation(Relation::AtMost)),
        (">=", Token::Relation(Relation::AtLeast)),
        ("=", Token::Relation(Relation::Equal)),
        ("<", Token::Relation(Relation::Less)),
        (">", Token::Relation(Relation::More)),
        ("!", Token::Not),
        ("(", Token::Open),
        (")", Token::Close),
    ];
    if let Some((sign, token)) = SIGNS.into_iter().find(|(sign, _)| text.starts_with(sign)) {
        return (token, sign.len());
    }
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        return match text[1..].find(quote) {
            Some(end) => {
                let inner = &text[1..=end];
                let operand = match inner.contains('$') {
                    true => Operand::Unknown(inner.to_owned()),
                    false => Operand::Text(inner.to_owned()),
                };
                (Token::Operand(operand), end + 2)
            }
            None => (Token::Bad, text.len()),
        };
    }
    if text.starts_with("$(") {
        let length = macro_length(text);
        return (
            Token::Operand(Operand::Unknown(text[..length].to_owned())),
            length,
        );
    }
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    match text.find(|c| !word(c)).unwrap_or(text.len()) {
        0 => (Token::Bad, text.chars().next().map_or(1, char::len_utf8)),
        end => (Token::Operand(Operand::Word(text[..end].to_owned())), end),
    }
}

/// The length of `$(…)` with what is nested in it.
fn macro_length(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' if depth <= 1 => return at + 1,
            b')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

struct Parser<'a> {
    tokens: &'a [Token],
    depth: usize,
}

impl Parser<'_> {
    fn accept(&mut self, wanted: &Token) -> bool {
        match self.tokens.split_first() {
            Some((first, rest)) if first == wanted => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }

    fn or(&mut self) -> Option<Arc<Expr>> {
        let mut parts = vec![self.and()?];
        while self.accept(&Token::Or) {
            parts.push(self.and()?);
        }
        Some(one_or(parts, Expr::Or))
    }

    fn and(&mut self) -> Option<Arc<Expr>> {
        let mut parts = vec![self.not()?];
        while self.accept(&Token::And) {
            parts.push(self.not()?);
        }
        Some(one_or(parts, Expr::And))
    }

    fn not(&mut self) -> Option<Arc<Expr>> {
        let mut negated = false;
        while self.accept(&Token::Not) {
            negated = !negated;
        }
        let inner = self.atom()?;
        Some(match negated {
            true => Arc::new(Expr::Not(inner)),
            false => inner,
        })
    }

    fn atom(&mut self) -> Option<Arc<Expr>> {
        if self.accept(&Token::Open) {
            self.depth += 1;
            let inner = (self.depth <= DEEPEST).then(|| self.or())??;
            self.depth -= 1;
            return self.accept(&Token::Close).then_some(inner);
        }
        let left = self.operand()?;
        if let Some((Token::Relation(relation), rest)) = self.tokens.split_first() {
            self.tokens = rest;
            return Some(Arc::new(Expr::Compare(left, *relation, self.operand()?)));
        }
        Some(Arc::new(match left {
            Operand::Word(word) | Operand::Text(word) => match word.as_str() {
                "y" => Expr::TRUE,
                "m" => Expr::Const(Tristate::Module),
                "n" | "" => Expr::Const(Tristate::No),
                _ if is_name(&word) => Expr::Symbol(word),
                _ => Expr::Unknown(word),
            },
            Operand::Unknown(text) => Expr::Unknown(text),
        }))
    }

    fn operand(&mut self) -> Option<Operand> {
        let (first, rest) = self.tokens.split_first()?;
        let Token::Operand(operand) = first else {
            return None;
        };
        self.tokens = rest;
        Some(operand.clone())
    }
}

fn one_or(mut parts: Vec<Arc<Expr>>, many: fn(Vec<Arc<Expr>>) -> Expr) -> Arc<Expr> {
    match parts.len() {
        1 => parts.remove(0),
        _ => Arc::new(many(parts)),
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |f: &mut fmt::Formatter<'_>, parts: &[Arc<Expr>], sign: &str| {
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    f.write_str(sign)?;
                }
                match **part {
                    Self::And(_) | Self::Or(_) => write!(f, "({part})")?,
                    _ => part.fmt(f)?,
                }
            }
            Ok(())
        };
        match self {
            Self::Const(value) => value.fmt(f),
            Self::Symbol(text) | Self::Unknown(text) => f.write_str(text),
            Self::Compare(left, relation, right) => write!(f, "{left}{relation}{right}"),
            Self::Not(inner) => match **inner {
                Self::Symbol(_) | Self::Const(_) | Self::Unknown(_) => write!(f, "!{inner}"),
                _ => write!(f, "!({inner})"),
            },
            Self::And(parts) => join(f, parts, " && "),
            Self::Or(parts) => join(f, parts, " || "),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) | Self::Unknown(word) => f.write_str(word),
            Self::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_and_evaluated() {
        let config = Config::parse(
            "t",
            "CONFIG_Y=y\nCONFIG_M=m\n# CONFIG_N is not set\nCONFIG_I=64\nCONFIG_S=\"a b\"\n",
        )
        .unwrap();
        for (text, value, shown) in [
            ("Y", "y", "Y"),
            ("M", "m", "M"),
            ("NOWHERE", "n", "NOWHERE"),
            ("Y && M", "m", "Y && M"),
            ("Y&&!N", "y", "Y && !N"),
            ("!M", "m", "!M"),
            ("N || M && Y", "m", "N || (M && Y)"),
            ("(N || M) && N", "n", "(N || M) && N"),
            ("!(Y || N)", "n", "!(Y || N)"),
            ("M = m", "y", "M=m"),
            ("M=y || M=Y", "n", "M=y || M=Y"),
            ("I >= 0x40", "y", "I>=0x40"),
            ("I < 9", "n", "I<9"),
            ("S = \"a b\"", "y", "S=\"a b\""),
            ("NOWHERE != n", "n", "NOWHERE!=n"),
            ("Y && $(cc-option,-m(a))", "y", "Y && $(cc-option,-m(a))"),
            ("\"$(ARCH)\" = \"x86\" # why", "y", "$(ARCH)=\"x86\""),
            ("Y &&", "y", "Y &&"),
            ("(Y", "y", "(Y"),
            ("Y § N", "y", "Y § N"),
        ] {
            let expr = Expr::parse(text);
            assert_eq!(expr.eval(&config).to_string(), value, "{text}");
            assert_eq!(expr.to_string(), shown, "{text}");
        }
        let deep = format!("{}N{}", "(".repeat(5000), ")".repeat(5000));
        assert!(matches!(*Expr::parse(&deep), Expr::Unknown(_)));
    }

    #[test]
    fn culprits_are_what_keeps_an_expression_down() {
        let config = Config::parse("t", "CONFIG_Y=y\nCONFIG_M=m\n").unwrap();
        for (text, want, wanted) in [
            ("Y && A && (B || C)", Tristate::Module, &["A", "B", "C"][..]),
            ("Y && M", Tristate::Module, &[]),
            ("Y && M", Tristate::Yes, &["M"]),
            ("!Y", Tristate::Module, &["Y"]),
            ("A=y && A", Tristate::Module, &["A"]),
            ("Y || A", Tristate::Yes, &[]),
        ] {
            assert_eq!(Expr::parse(text).culprits(want, &config), wanted, "{text}");
        }
    }
}
