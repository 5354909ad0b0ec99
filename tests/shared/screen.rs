//! What a terminal shows of what was printed: as much of a VT102 as boot messages and
//! busybox's shell use.

const WIDTH: usize = 80;
const HEIGHT: usize = 25;

/// The screen's lines and those that it has scrolled away, without blanks at their ends
/// and without empty lines at the end.
pub(crate) fn screen(printed: &str) -> String {
    let mut screen = Screen::default();
    screen.lines.resize(HEIGHT, String::new());
    let mut chars = printed.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' => screen.feed(),
            '\r' => screen.column = 0,
            '\x08' => screen.column = screen.column.saturating_sub(1),
            '\x1b' => screen.escape(&mut chars),
            c if c.is_control() => {}
            c => screen.put(c),
        }
    }
    screen.gone.append(&mut screen.lines);
    let lines = screen.gone.iter().map(|line| line.trim_end());
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n"
}

#[derive(Default)]
struct Screen {
    gone: Vec<String>,
    lines: Vec<String>,
    row: usize,
    column: usize,
    saved: (usize, usize),
}

impl Screen {
    fn feed(&mut self) {
        if self.row + 1 < HEIGHT {
            self.row += 1;
        } else {
            self.gone.push(self.lines.remove(0));
            self.lines.push(String::new());
        }
    }

    fn put(&mut self, c: char) {
        if self.column == WIDTH {
            self.column = 0;
            self.feed();
        }
        let mut line: Vec<char> = self.lines[self.row].chars().collect();
        line.resize(line.len().max(self.column + 1), ' ');
        line[self.column] = c;
        self.lines[self.row] = line.into_iter().collect();
        self.column += 1;
    }

    /// Behind the escape: one letter, or `[`, parameters and a letter.
    fn escape(&mut self, chars: &mut std::str::Chars<'_>) {
        match chars.next() {
            Some('7') => self.saved = (self.row, self.column),
            Some('8') => (self.row, self.column) = self.saved,
            Some('[') => {
                let rest = chars.as_str();
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(rest.len());
                let count = rest[..end].parse().unwrap_or(1);
                match chars.nth(end) {
                    Some('A') => self.row = self.row.saturating_sub(count),
                    Some('B') => self.row = (self.row + count).min(HEIGHT - 1),
                    Some('J') => self.clear(self.row + 1),
                    Some('K') => self.lines[self.row].truncate(self.column),
                    Some('L') => self.insert(count),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Clears the rest of the line, and all from row `from` on.
    fn clear(&mut self, from: usize) {
        self.lines[self.row].truncate(self.column);
        self.lines.truncate(from);
        self.lines.resize(HEIGHT, String::new());
    }

    fn insert(&mut self, count: usize) {
        for _ in 0..count {
            self.lines.insert(self.row, String::new());
        }
        self.lines.truncate(HEIGHT);
    }
}
