//! Names inside a staged tree.

use std::fmt;

use bstr::{BStr, BString, ByteSlice};

/// A path below the root of a staged tree: no leading slash, no empty, `.` or
/// `..` component, no NUL. Bytes, because neither Linux nor squashfs asks for
/// UTF-8. The root itself is the empty path.
///
/// The order is that of the components, so a directory comes right before what
/// it holds.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(BString);

/// Why a name cannot be a path in a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It begins with `/`.
    #[error("the name is absolute")]
    Absolute,
    /// It has a `..` component.
    #[error("the name has a `..` in it")]
    Parent,
    /// It holds a NUL byte.
    #[error("the name has a NUL byte in it")]
    Nul,
}

impl TreePath {
    /// The root of the tree.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses an untrusted relative name. Empty and `.` components are dropped
    /// (`./usr//bin/` is `usr/bin`).
    pub fn parse(name: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let name = name.as_ref();
        if name.starts_with(b"/") {
            return Err(PathError::Absolute);
        }
        Self::parse_absolute(name)
    }

    /// Like [`TreePath::parse`], with leading slashes allowed: for names from
    /// places where `/` means the root of the tree (package lists, recipes).
    pub fn parse_absolute(name: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let mut path = Self::root();
        for component in name.as_ref().split_str("/") {
            match component {
                b"" | b"." => {}
                b".." => return Err(PathError::Parent),
                _ if component.contains(&0) => return Err(PathError::Nul),
                _ => path.push(component),
            }
        }
        Ok(path)
    }

    fn push(&mut self, component: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(component);
    }

    /// The path as bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as a byte string that can be displayed.
    pub fn as_bstr(&self) -> &BStr {
        self.0.as_bstr()
    }

    /// Whether this is the root of the tree.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last component; `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The directory that holds it; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.rfind_byte(b'/') {
            Some(slash) => Self(self.0[..slash].into()),
            None => Self::root(),
        })
    }

    /// Every directory above it, nearest first, the root last.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// Its components from the top.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
    }

    /// `other` below this path.
    pub fn join(&self, other: &Self) -> Self {
        let mut path = self.clone();
        for component in other.components() {
            path.push(component);
        }
        path
    }

    /// What remains below `base`; `None` if it is not below it. A path is
    /// below itself, with the root as the rest.
    pub fn strip_prefix(&self, base: &Self) -> Option<Self> {
        let mut rest = self.components();
        for component in base.components() {
            if rest.next() != Some(component) {
                return None;
            }
        }
        let mut path = Self::root();
        for component in rest {
            path.push(component);
        }
        Some(path)
    }

    /// Where a symbolic link at this path leads, as a path in the same tree.
    /// An absolute target starts at the root. `None` if it leads out.
    pub fn resolve_link(&self, target: &[u8]) -> Option<Self> {
        let mut at: Vec<&[u8]> = match target.first() {
            Some(b'/') => Vec::new(),
            _ => {
                let mut components: Vec<_> = self.components().collect();
                components.pop();
                components
            }
        };
        for component in target.split_str("/") {
            match component {
                b"" | b"." => {}
                b".." => {
                    at.pop()?;
                }
                _ => at.push(component),
            }
        }
        let mut path = Self::root();
        for component in at {
            path.push(component);
        }
        Some(path)
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("/");
        }
        self.as_bstr().fmt(f)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_bstr(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> TreePath {
        TreePath::parse(name).unwrap()
    }

    #[test]
    fn names_are_normalised_or_refused() {
        for (name, wanted) in [
            ("usr/bin/x", Ok("usr/bin/x")),
            ("./usr//bin/./x/", Ok("usr/bin/x")),
            (".", Ok("")),
            ("/etc", Err(PathError::Absolute)),
            ("a/../b", Err(PathError::Parent)),
            ("..", Err(PathError::Parent)),
            ("a\0b", Err(PathError::Nul)),
            ("a..b/...", Ok("a..b/...")),
        ] {
            let got = TreePath::parse(name);
            let got = got.as_ref().map(|p| p.as_bytes());
            assert_eq!(got, wanted.as_ref().map(|w| w.as_bytes()), "{name:?}");
        }
        assert_eq!(TreePath::parse_absolute("/etc/x"), Ok(path("etc/x")));
    }

    #[test]
    fn a_directory_comes_right_before_what_it_holds() {
        let mut names = ["a.b", "a/z", "a", "a/b/c", "a/b", "b"].map(path);
        names.sort();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/z", "a.b", "b"].map(path));
    }

    #[test]
    fn parents_and_prefixes() {
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(TreePath::root()));
        assert_eq!(TreePath::root().parent(), None);
        assert_eq!(path("a/b/c").ancestors().count(), 3);
        assert_eq!(path("a/b/c").strip_prefix(&path("a")), Some(path("b/c")));
        assert_eq!(path("ab/c").strip_prefix(&path("a")), None);
        assert_eq!(path("a").strip_prefix(&path("a")), Some(TreePath::root()));
        assert_eq!(path("a").join(&path("b/c")), path("a/b/c"));
        assert_eq!(path("a/b").file_name(), Some(&b"b"[..]));
    }

    #[test]
    fn links_resolve_inside_the_tree_or_not_at_all() {
        for (link, target, wanted) in [
            ("usr/bin/x", "../lib/y", Some("usr/lib/y")),
            ("x", "y", Some("y")),
            ("x", "../y", None),
            ("a/b", "../../y", None),
            ("a/b", "/etc/z", Some("etc/z")),
            ("a/b", "/../z", None),
            ("a/b", "c/../../d", Some("d")),
        ] {
            assert_eq!(
                path(link).resolve_link(target.as_bytes()),
                wanted.map(path),
                "{link} -> {target}"
            );
        }
    }
}
