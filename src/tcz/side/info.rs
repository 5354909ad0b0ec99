//! `NAME.tcz.info`: what people read about an extension.
//!
//! Twelve fields in a fixed order; values begin at column 17, further lines of
//! a value with 16 spaces. Real ones have tabs too.

use std::fmt::Write as _;

/// Where values begin, counted from 0.
const COLUMN: usize = 16;
/// Where long lines of Comments and Change-log are broken.
const WIDTH: usize = 80;

/// The fields of an info file. Values have no line breaks but for those of
/// Comments, Change-log and Current.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// The extension's file name, `x.tcz`.
    pub title: String,
    /// What it is, in a line.
    pub description: String,
    /// The program's version.
    pub version: String,
    /// Who wrote the program.
    pub author: String,
    /// The program's home page.
    pub original_site: String,
    /// Its licence.
    pub copying_policy: String,
    /// The extension's size as [`du`] prints it.
    pub size: String,
    /// Who made the extension.
    pub extension_by: String,
    /// Words to find it by.
    pub tags: String,
    /// More for the reader.
    pub comments: String,
    /// Earlier versions: lines of `YYYY/MM/DD text`.
    pub change_log: String,
    /// The present version: `YYYY/MM/DD text`, never empty.
    pub current: String,
}

/// How an info file deviates from the form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Deviation {
    /// It holds bytes that are not UTF-8.
    #[error("there are bytes that are not UTF-8")]
    NotUtf8,
    /// Lines end as on Windows.
    #[error("lines end in carriage returns")]
    CarriageReturn,
    /// A field is not there.
    #[error("the field `{0}` is missing")]
    Missing(&'static str),
    /// A field is there twice.
    #[error("the field `{0}` is there twice")]
    Twice(&'static str),
    /// A field comes before one that it should follow.
    #[error("the field `{0}` is not in its place")]
    Order(&'static str),
    /// A line belongs to no field.
    #[error("line {0} belongs to no known field")]
    Unknown(usize),
    /// A value does not begin where it should.
    #[error("the value on line {0} does not begin at column 17")]
    Column(usize),
    /// A field that must have a value has none.
    #[error("the field `{0}` is empty")]
    Empty(&'static str),
    /// Current does not begin with a date.
    #[error("`{0}` does not begin with a date as 2020/03/01")]
    Date(&'static str),
}

/// The fields in their order.
const LABELS: [&str; 12] = [
    "Title",
    "Description",
    "Version",
    "Author",
    "Original-site",
    "Copying-policy",
    "Size",
    "Extension_by",
    "Tags",
    "Comments",
    "Change-log",
    "Current",
];

/// Fields that official extensions leave empty.
const MAY_BE_EMPTY: [&str; 3] = ["Tags", "Comments", "Change-log"];

impl Info {
    fn fields(&self) -> [(&'static str, &String); 12] {
        let values = [
            &self.title,
            &self.description,
            &self.version,
            &self.author,
            &self.original_site,
            &self.copying_policy,
            &self.size,
            &self.extension_by,
            &self.tags,
            &self.comments,
            &self.change_log,
            &self.current,
        ];
        std::array::from_fn(|i| (LABELS[i], values[i]))
    }

    fn fields_mut(&mut self) -> [&mut String; 12] {
        [
            &mut self.title,
            &mut self.description,
            &mut self.version,
            &mut self.author,
            &mut self.original_site,
            &mut self.copying_policy,
            &mut self.size,
            &mut self.extension_by,
            &mut self.tags,
            &mut self.comments,
            &mut self.change_log,
            &mut self.current,
        ]
    }

    /// The text of the file. Control characters become spaces, long lines of
    /// the last three fields are broken between words.
    pub fn print(&self) -> String {
        let mut text = String::new();
        for (number, (label, value)) in self.fields().into_iter().enumerate() {
            let lines = if number < 9 {
                vec![one_line(value)]
            } else {
                wrapped(value)
            };
            let _ = write!(text, "{:<COLUMN$}", format!("{label}:"));
            text.push_str(&lines.join(&format!("\n{:COLUMN$}", "")));
            text.push('\n');
        }
        text
    }

    /// Reads an info file as far as it can be understood, and tells how it
    /// deviates from the form.
    pub fn parse(bytes: &[u8]) -> (Self, Vec<Deviation>) {
        let mut parser = Parser::default();
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            parser.deviations.push(Deviation::NotUtf8);
        }
        if text.contains('\r') {
            parser.deviations.push(Deviation::CarriageReturn);
        }
        for (number, line) in (1..).zip(text.lines()) {
            parser.line(number, line.trim_end());
        }
        parser.finish()
    }
}

#[derive(Default)]
struct Parser {
    info: Info,
    deviations: Vec<Deviation>,
    seen: [bool; 12],
    /// The field that further lines belong to.
    field: Option<usize>,
}

impl Parser {
    fn line(&mut self, number: usize, line: &str) {
        if line.is_empty() {
            return self.append("");
        }
        if line.starts_with([' ', '\t']) {
            return self.further_line(number, line);
        }
        let label = line.split_once(':').map(|(label, _)| label);
        let Some(field) = label.and_then(|label| LABELS.iter().position(|l| *l == label)) else {
            self.field = None;
            return self.deviations.push(Deviation::Unknown(number));
        };
        if std::mem::replace(&mut self.seen[field], true) {
            self.deviations.push(Deviation::Twice(LABELS[field]));
        }
        if self.seen[field + 1..].contains(&true) {
            self.deviations.push(Deviation::Order(LABELS[field]));
        }
        self.field = Some(field);
        let value = line[LABELS[field].len() + 1..].trim_start();
        if !value.is_empty() && column(line, value) != COLUMN {
            self.deviations.push(Deviation::Column(number));
        }
        value.clone_into(self.info.fields_mut()[field]);
    }

    fn further_line(&mut self, number: usize, line: &str) {
        let value = line.trim_start();
        if self.field.is_none() {
            self.deviations.push(Deviation::Unknown(number));
        } else if column(line, value) < COLUMN {
            self.deviations.push(Deviation::Column(number));
        }
        // What is set further to the right keeps its distance.
        let indent = column(line, value).saturating_sub(COLUMN);
        self.append(&format!("{:indent$}{value}", ""));
    }

    fn append(&mut self, value: &str) {
        if let Some(field) = self.field {
            let text = &mut self.info.fields_mut()[field];
            text.push('\n');
            text.push_str(value);
        }
    }

    fn finish(mut self) -> (Info, Vec<Deviation>) {
        for value in self.info.fields_mut() {
            value.truncate(value.trim_end().len());
        }
        for (field, (label, value)) in self.info.fields().into_iter().enumerate() {
            if !self.seen[field] {
                self.deviations.push(Deviation::Missing(label));
            } else if value.is_empty() && !MAY_BE_EMPTY.contains(&label) {
                self.deviations.push(Deviation::Empty(label));
            }
        }
        let current = &self.info.current;
        if !current.is_empty() && !begins_with_date(current) {
            self.deviations.push(Deviation::Date("Current"));
        }
        (self.info, self.deviations)
    }
}

/// The column, counted from 0, at which `value`, the end of `line`, is seen
/// with tab stops every 8 columns.
fn column(line: &str, value: &str) -> usize {
    let before = &line[..line.len() - value.len()];
    before.chars().fold(0, |column, c| match c {
        '\t' => column / 8 * 8 + 8,
        _ => column + 1,
    })
}

/// Whether a text begins with `YYYY/MM/DD`.
fn begins_with_date(text: &str) -> bool {
    let Some(date) = text.get(..10) else {
        return false;
    };
    jiff::civil::Date::strptime("%Y/%m/%d", date).is_ok()
}

fn one_line(value: &str) -> String {
    let clean = value.replace(char::is_control, " ");
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The lines of a value, long ones broken between words. Spaces at the front
/// of a line are kept, and repeated when it is broken.
fn wrapped(value: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in value.trim_end().split('\n') {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let mut current = " ".repeat(indent);
        for word in one_line(line).split_whitespace() {
            let empty = current.trim_start().is_empty();
            if !empty && current.chars().count() + 1 + word.chars().count() > WIDTH - COLUMN {
                lines.push(std::mem::replace(&mut current, " ".repeat(indent)));
            } else if !empty {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current.trim_end().to_owned());
    }
    lines
}

/// A size as Size has it: what `du -h` prints of a file of that many bytes on
/// 4096-byte blocks, rounded up; from a megabyte on with a `B` behind, as
/// people write it there: `4.0K`, `124K`, `1.3MB`.
pub fn du(bytes: u64) -> String {
    let size = u128::from(bytes).div_ceil(4096) * 4096;
    let (mut whole, mut unit) = (1, "");
    for next in ["K", "MB", "GB", "TB", "PB", "EB"] {
        if size.div_ceil(whole) < 1024 {
            break;
        }
        (whole, unit) = (whole * 1024, next);
    }
    let tenths = (size * 10).div_ceil(whole);
    if tenths < 100 && whole > 1 {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    } else {
        format!("{}{unit}", size.div_ceil(whole))
    }
}

/// The number of bytes that a Size says, and by how much it may be off.
/// `None` for what is no size. `1.3M`, `1.3MB`, `124K`, `136 kB`, `8192`.
pub fn parse_size(text: &str) -> Option<(f64, f64)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit.trim().to_ascii_uppercase().trim_end_matches(['B', 'I']) {
        "" => 1.0,
        "K" => 1024.0,
        "M" => 1_048_576.0,
        "G" => 1_073_741_824.0,
        _ => return None,
    };
    let digits = number.split_once('.').map_or(0, |(_, tenths)| tenths.len());
    let step = unit * 0.1f64.powi(i32::try_from(digits).ok()?);
    let value: f64 = number.parse().ok()?;
    Some((value * unit, step.max(4096.0)))
}

/// How the comments tell of files that the programs do without: a glob follows, then
/// why.
const OPTIONAL: &str = "Optional:";

/// What the comments say of files that the programs do without.
pub(crate) fn optional_note(glob: &str, reason: &str) -> String {
    format!("{OPTIONAL} {glob} ({reason})")
}

/// The globs of all such files that an info file tells of, however its lines are
/// broken: a glob has no blanks.
pub(crate) fn optional_globs(info: &str) -> impl Iterator<Item = &str> {
    let words = info.split_whitespace();
    let following = info.split_whitespace().skip(1);
    words
        .zip(following)
        .filter(|(word, _)| *word == OPTIONAL)
        .map(|(_, glob)| glob)
}

/// How the comments tell that an image is not packed as the mirror does it; the
/// reason follows.
pub(crate) fn packing_note(block_size: u32, compression: &str) -> String {
    match compression {
        "gzip" => format!("Packed with {block_size} byte blocks:"),
        other => format!("Packed with {block_size} byte blocks and {other}:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A real one, with its tabs.
    const BRIDGING: &str = "Title:          net-bridging-5.4.3-tinycore64.tcz\nDescription:    Bridging \
                            support\nVersion:\t5.4.3-tinycore64\nAuthor:\t\tVarious\nOriginal-site:  \
                            http://kernel.org\nCopying-policy: GPL\nSize:\t\t124K\nExtension_by:   Curaga\nTags:\t\t\
                            Bridging support\nComments:       \nChange-log:     \nCurrent:        2019/12/17 \
                            Original\n";

    fn bridging() -> Info {
        Info {
            title: "net-bridging-5.4.3-tinycore64.tcz".into(),
            description: "Bridging support".into(),
            version: "5.4.3-tinycore64".into(),
            author: "Various".into(),
            original_site: "http://kernel.org".into(),
            copying_policy: "GPL".into(),
            size: "124K".into(),
            extension_by: "Curaga".into(),
            tags: "Bridging support".into(),
            current: "2019/12/17 Original".into(),
            ..Info::default()
        }
    }

    #[test]
    fn a_real_one_is_read() {
        assert_eq!(Info::parse(BRIDGING.as_bytes()), (bridging(), vec![]));
    }

    #[test]
    fn values_begin_at_column_17() {
        let text = bridging().print();
        for line in text.lines() {
            assert!(line.len() >= 16, "{line:?}");
            let (label, value) = line.split_at(16);
            assert!(
                label.trim_end().ends_with(':') && !value.starts_with(' '),
                "{line:?}"
            );
        }
        assert!(text.contains("\nSize:           124K\n"), "{text}");
        assert_eq!(Info::parse(text.as_bytes()), (bridging(), vec![]));
    }

    #[test]
    fn long_lines_and_line_breaks() {
        let words = "fünf ".repeat(20);
        let info = Info {
            description: "two\nlines\tand \u{1b}[31mred".into(),
            comments: format!("first\n\n  {words}\n{}", "x".repeat(100)),
            current: "2020/03/01 new".into(),
            ..bridging()
        };
        let text = info.print();
        assert!(text.contains("Description:    two lines and [31mred\n"), "{text}");
        let comment = text.lines().find(|line| line.contains("fünf")).unwrap();
        assert!(
            comment.starts_with(&" ".repeat(18)) && comment.chars().count() <= 80,
            "{comment:?}"
        );
        let (read, deviations) = Info::parse(text.as_bytes());
        assert_eq!(deviations, []);
        assert_eq!(
            read.comments.split_whitespace().count(),
            info.comments.split_whitespace().count()
        );
        assert_eq!(Info::parse(read.print().as_bytes()).0, read);
    }

    #[test]
    fn each_deviation_is_named() {
        use Deviation as D;
        let with = |from: &str, to: &str| BRIDGING.replacen(from, to, 1).into_bytes();
        for (bytes, wanted) in [
            (with("Curaga", "Cura\u{0}ga"), vec![]),
            (
                BRIDGING.replace('\n', "\r\n").into_bytes(),
                vec![D::CarriageReturn],
            ),
            (with("Author:\t\tVarious\n", ""), vec![D::Missing("Author")]),
            (with("Author:", "Author:\t\tx\nAuthor:"), vec![D::Twice("Author")]),
            (
                with("Copying-policy:", "Licence:"),
                vec![D::Unknown(6), D::Missing("Copying-policy")],
            ),
            (with("Size:\t\t", "Size: "), vec![D::Column(7)]),
            (
                with("Comments:       \n", "Comments:       a\n  b\n"),
                vec![D::Column(11)],
            ),
            (with("2019/12/17 Original", ""), vec![D::Empty("Current")]),
            (with("2019/12/17", "17.12.2019"), vec![D::Date("Current")]),
            (with("2019/12/17", "2019/13/17"), vec![D::Date("Current")]),
            (
                [
                    &b"Title:          x.tcz\nSize:           \xff\n"[..],
                    b"Author:         x\n",
                ]
                .concat(),
                vec![
                    D::NotUtf8,
                    D::Order("Author"),
                    D::Missing("Description"),
                    D::Missing("Version"),
                    D::Missing("Original-site"),
                    D::Missing("Copying-policy"),
                    D::Missing("Extension_by"),
                    D::Missing("Tags"),
                    D::Missing("Comments"),
                    D::Missing("Change-log"),
                    D::Missing("Current"),
                ],
            ),
        ] {
            let (_, deviations) = Info::parse(&bytes);
            assert_eq!(deviations, wanted, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn sizes_are_as_du_prints_them() {
        for (bytes, wanted) in [
            (0, "0"),
            (1, "4.0K"),
            (4096, "4.0K"),
            (9 << 10, "12K"),
            (126_976, "124K"),
            (1_294_336, "1.3MB"),
            (1_470_464, "1.5MB"),
            (1023 << 10, "1.0MB"),
            (1020 << 10, "1020K"),
            (10 << 20, "10MB"),
            ((10 << 20) + 1, "11MB"),
            (83 << 20, "83MB"),
            (1 << 30, "1.0GB"),
        ] {
            assert_eq!(du(bytes), wanted, "{bytes}");
            if bytes > 0 {
                let (value, step) = parse_size(wanted).unwrap();
                assert!((value - bytes as f64).abs() <= step, "{wanted}");
            }
        }
        assert_eq!(parse_size("136 kB"), Some((139_264.0, 4096.0)));
        for text in ["", "K", "many", "1.2.3M", "12 parsecs"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
