//! Placing the files of an upstream archive in the stage of an extension.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::list;
use super::plan::{Glob, Rule, Target};
use crate::stage::{Kind, Node, Stage, StageError, TreePath};

/// Why files of an archive could not be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum PlaceError {
    /// A rule that selects nothing.
    #[error("nothing in the archive matches `{glob}`")]
    #[diagnostic(help("{}", nearest_hint(.nearest)))]
    NoMatch {
        /// The glob.
        glob: String,
        /// The paths of the archive that look most like it, at most three.
        nearest: Vec<String>,
    },
    /// A rule for one file that selects several.
    #[error("`{glob}` matches {count} files, but `{to}` is one")]
    #[diagnostic(help("narrow the glob, or end `to` with `/` to make it a directory"))]
    Several {
        /// The glob.
        glob: String,
        /// How many it selects.
        count: usize,
        /// Where they would all go.
        to: TreePath,
    },
    /// A rule for a bare program, and an archive of more than one file.
    #[error("the asset holds {0} files and is no bare program")]
    #[diagnostic(help("say with `from` which of them are meant"))]
    NotBare(usize),
    /// A link whose target stays behind.
    #[error("the link `{link}` leads to `{target}`, which is not placed")]
    #[diagnostic(help("place the target too, or leave the link out with `except`"))]
    Dangling {
        /// The link's path in the archive.
        link: TreePath,
        /// Its target's path in the archive.
        target: TreePath,
    },
    /// Two things at one path.
    #[error("cannot place `{from}`: {reason}")]
    #[diagnostic(help("change where it goes, or leave one of the two out with `except`"))]
    Conflict {
        /// Its path in the archive.
        from: TreePath,
        /// What is in the way.
        reason: StageError,
    },
}

/// Puts the files that the rules select into a stage. Files keep the archive's
/// executable bits unless a rule says otherwise; hard links stay hard links. A
/// symbolic link within the archive leads to the same file as before, with its
/// target rewritten where link and target moved apart; one that leads elsewhere
/// is kept as it is. Directories come into being with what is in them; of an
/// archive's empty directories, those that a glob matches. On an error, some
/// files may have been placed already.
pub fn place(archive: &Stage, rules: &[Rule], into: &mut Stage) -> Result<(), PlaceError> {
    let mut placing = Placing {
        archive,
        rules,
        parents: archive.iter().filter_map(|(path, _)| path.parent()).collect(),
        moves: Vec::new(),
        places: BTreeMap::new(),
    };
    for rule in rules {
        placing.select(rule)?;
    }
    for (from, to, mode) in &placing.moves {
        if let Some(node) = placing.node(from, to, *mode)? {
            into.insert(to.clone(), node)
                .map_err(|reason| PlaceError::Conflict {
                    from: (*from).clone(),
                    reason,
                })?;
        }
    }
    Ok(())
}

struct Placing<'a> {
    archive: &'a Stage,
    rules: &'a [Rule],
    /// The archive's directories that hold anything.
    parents: BTreeSet<TreePath>,
    /// What goes where, with which mode, in the rules' order.
    moves: Vec<(&'a TreePath, TreePath, Option<u16>)>,
    /// Where each selected path goes.
    places: BTreeMap<&'a TreePath, Vec<TreePath>>,
}

impl<'a> Placing<'a> {
    fn select(&mut self, rule: &Rule) -> Result<(), PlaceError> {
        match rule {
            Rule::Bare { to, mode } => {
                let files: Vec<_> = self.archive.file_paths().collect();
                let [file] = files.as_slice() else {
                    return Err(PlaceError::NotBare(files.len()));
                };
                self.add(file, to.clone(), Some(*mode));
            }
            Rule::Select {
                from,
                except,
                to,
                mode,
            } => {
                let selected = self.matching(from, except)?;
                if let Target::File(to) = to {
                    return self.one(from, &selected, to, *mode);
                }
                for path in selected {
                    if let Some(to) = below(from, to, path) {
                        self.add(path, to, *mode);
                    }
                }
            }
        }
        Ok(())
    }

    fn matching(&self, from: &Glob, except: &[Glob]) -> Result<Vec<&'a TreePath>, PlaceError> {
        let archive: &'a Stage = self.archive;
        let selected: Vec<_> = archive
            .iter()
            .map(|(path, _)| path)
            .filter(|path| from.matches(path) && !except.iter().any(|glob| glob.matches(path)))
            .collect();
        if selected.is_empty() {
            return Err(PlaceError::NoMatch {
                glob: from.as_str().to_owned(),
                nearest: nearest(archive, from.as_str()),
            });
        }
        Ok(selected)
    }

    fn one(
        &mut self,
        from: &Glob,
        selected: &[&'a TreePath],
        to: &TreePath,
        mode: Option<u16>,
    ) -> Result<(), PlaceError> {
        let is_file = |path: &&&TreePath| self.archive.get(path).is_some_and(|node| !node.is_dir());
        let files: Vec<_> = selected.iter().filter(is_file).collect();
        let [file] = files.as_slice() else {
            return Err(PlaceError::Several {
                glob: from.as_str().to_owned(),
                count: files.len(),
                to: to.clone(),
            });
        };
        self.add(file, to.clone(), mode);
        Ok(())
    }

    fn add(&mut self, from: &'a TreePath, to: TreePath, mode: Option<u16>) {
        self.places.entry(from).or_default().push(to.clone());
        self.moves.push((from, to, mode));
    }

    /// What is put at `to`; nothing for a directory that comes with its content.
    fn node(&self, from: &TreePath, to: &TreePath, mode: Option<u16>) -> Result<Option<Node>, PlaceError> {
        let Some(node) = self.archive.get(from) else {
            return Ok(None);
        };
        Ok(match &node.kind {
            Kind::Directory if self.parents.contains(from) => None,
            Kind::Directory => Some(Node::directory()),
            Kind::File(content) => Some(Node::file(content.clone(), mode.unwrap_or(node.mode & 0o777))),
            Kind::Symlink(target) => Some(Node::symlink(self.target(from, to, target)?)),
        })
    }

    /// The target of a link that moves from `from` to `to`.
    fn target(&self, from: &TreePath, to: &TreePath, target: &[u8]) -> Result<Vec<u8>, PlaceError> {
        let meant = from
            .resolve_link(target)
            .filter(|meant| self.archive.get(meant).is_some());
        let Some(meant) = meant else {
            return Ok(target.to_vec());
        };
        let places = self.places_of(&meant);
        let Some(first) = places.first() else {
            return Err(PlaceError::Dangling {
                link: from.clone(),
                target: meant,
            });
        };
        let still_right = to.resolve_link(target).is_some_and(|now| places.contains(&now));
        Ok(if still_right {
            target.to_vec()
        } else {
            relative(to, first)
        })
    }

    /// Where a path of the archive has gone: for a directory, also where rules
    /// have put what is in it.
    fn places_of(&self, path: &TreePath) -> Vec<TreePath> {
        let mut places = self.places.get(path).cloned().unwrap_or_default();
        let holds_placed = || {
            self.places
                .keys()
                .any(|placed| placed.strip_prefix(path).is_some())
        };
        if self.archive.get(path).is_some_and(Node::is_dir) && holds_placed() {
            places.extend(self.rules.iter().filter_map(|rule| match rule {
                Rule::Select { from, to, .. } => below(from, to, path),
                Rule::Bare { .. } => None,
            }));
        }
        places
    }
}

/// Where a rule puts a path.
fn below(from: &Glob, to: &Target, path: &TreePath) -> Option<TreePath> {
    match to {
        Target::Directory(to) => Some(to.join(&path.strip_prefix(from.fixed())?)),
        Target::File(_) => None,
    }
}

/// The target that leads from a link to another path.
fn relative(link: &TreePath, to: &TreePath) -> Vec<u8> {
    let mut from: Vec<_> = link.components().collect();
    from.pop();
    let to: Vec<_> = to.components().collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(&b".."[..], from.len() - common);
    let parts: Vec<_> = up.chain(to[common..].iter().copied()).collect();
    match parts.is_empty() {
        true => b".".to_vec(),
        false => parts.join(&b'/'),
    }
}

/// The three files of the archive whose paths look most like a glob.
fn nearest(archive: &Stage, glob: &str) -> Vec<String> {
    let mut paths: Vec<_> = archive
        .file_paths()
        .map(|path| path.to_string())
        .map(|path| (strsim::levenshtein(&path, glob), path))
        .collect();
    paths.sort();
    paths.into_iter().take(3).map(|(_, path)| path).collect()
}

fn nearest_hint(nearest: &[String]) -> String {
    match nearest {
        [] => "the archive is empty".to_owned(),
        nearest => format!("the nearest it has: {}", list(nearest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Content;

    fn path(name: &str) -> TreePath {
        TreePath::parse(name).unwrap()
    }

    /// `d/` a directory, `l -> t` a link, `x*` a program, `x` a file.
    fn archive(entries: &[&str]) -> Stage {
        let mut stage = Stage::new();
        for entry in entries {
            let (name, node) = if let Some((link, target)) = entry.split_once(" -> ") {
                (link, Node::symlink(target))
            } else if let Some(name) = entry.strip_suffix('*') {
                (name, Node::file(Content::bytes(*b"#!"), 0o4711))
            } else if entry.ends_with('/') {
                (*entry, Node::directory())
            } else {
                (*entry, Node::file(Content::bytes(*b""), 0o640))
            };
            stage.insert(path(name), node).unwrap();
        }
        stage
    }

    fn rule(from: &str, except: &[&str], to: &str) -> Rule {
        let target = if to.ends_with('/') {
            Target::Directory
        } else {
            Target::File
        };
        Rule::Select {
            from: Glob::new(from).unwrap(),
            except: except.iter().map(|glob| Glob::new(glob).unwrap()).collect(),
            to: target(path(to)),
            mode: None,
        }
    }

    /// What was placed, written like the input, directories left out.
    fn placed(archive: &Stage, rules: &[Rule]) -> Result<Vec<String>, PlaceError> {
        let mut stage = Stage::new();
        place(archive, rules, &mut stage)?;
        let leaves = stage.iter().filter(|(path, node)| {
            !node.is_dir()
                || !stage
                    .iter()
                    .any(|(other, _)| other.parent().as_ref() == Some(path))
        });
        Ok(leaves
            .map(|(path, node)| match &node.kind {
                Kind::Directory => format!("{path}/"),
                Kind::File(_) if node.mode == 0o711 => format!("{path}*"),
                Kind::File(_) if node.mode == 0o640 => path.to_string(),
                Kind::File(_) => format!("{path} {:o}", node.mode),
                Kind::Symlink(target) => format!("{path} -> {}", String::from_utf8_lossy(target)),
            })
            .collect())
    }

    #[test]
    fn rules_take_what_they_match_to_where_they_say() {
        let tree = [
            "bin/a*",
            "bin/b*",
            "bin/sub/c",
            "LICENSE",
            "lib/x/y",
            "lib/empty/",
        ];
        for (rules, wanted) in [
            (
                vec![rule("bin/*", &[], "usr/bin/")],
                vec!["usr/bin/a*", "usr/bin/b*"],
            ),
            (
                vec![rule("bin/**", &["**/b"], "usr/bin/")],
                vec!["usr/bin/a*", "usr/bin/sub/c"],
            ),
            (vec![rule("bin/{a,c}", &[], "o/")], vec!["o/a*"]),
            (vec![rule("LICENSE", &[], "doc/")], vec!["doc/LICENSE"]),
            (vec![rule("LICEN?E", &[], "doc/COPYING")], vec!["doc/COPYING"]),
            (vec![rule("lib/**", &[], "l/")], vec!["l/empty/", "l/x/y"]),
            (
                vec![rule("**", &["lib/**", "lib"], "l/")],
                vec!["l/LICENSE", "l/bin/a*", "l/bin/b*", "l/bin/sub/c"],
            ),
            (
                vec![rule("bin/a", &[], "x/"), rule("bin/a", &[], "y/z")],
                vec!["x/a*", "y/z*"],
            ),
        ] {
            assert_eq!(placed(&archive(&tree), &rules).unwrap(), wanted, "{rules:?}");
        }
    }

    #[test]
    fn modes_of_a_rule_win_over_the_archives() {
        let mut rules = vec![rule("x", &[], "x")];
        if let Rule::Select { mode, .. } = &mut rules[0] {
            *mode = Some(0o755);
        }
        assert_eq!(placed(&archive(&["x"]), &rules).unwrap(), ["x 755"]);
        let bare = |mode| Rule::Bare {
            to: path("bin/p"),
            mode,
        };
        assert_eq!(placed(&archive(&["p"]), &[bare(0o755)]).unwrap(), ["bin/p 755"]);
        assert_eq!(
            placed(&archive(&["p", "q"]), &[bare(0o755)]),
            Err(PlaceError::NotBare(2))
        );
    }

    #[test]
    fn links_lead_to_the_same_file_as_before() {
        for (tree, rules, wanted) in [
            // The whole tree moves: nothing changes.
            (
                &["p/lib/x", "p/bin/l -> ../lib/x", "p/here -> ."][..],
                vec![rule("p/**", &[], "o/p-1/")],
                &["o/p-1/bin/l -> ../lib/x", "o/p-1/here -> .", "o/p-1/lib/x"][..],
            ),
            // Link and target move apart.
            (
                &["usr/sbin/runc*", "usr/bin/runc -> ../sbin/runc"],
                vec![
                    rule("usr/sbin/*", &[], "usr/local/bin/"),
                    rule("usr/bin/*", &[], "opt/"),
                ],
                &["opt/runc -> ../usr/local/bin/runc", "usr/local/bin/runc*"],
            ),
            // An absolute target within the archive.
            (
                &["usr/lib/a", "usr/lib/b -> /usr/lib/a"],
                vec![rule("usr/lib/*", &[], "usr/local/lib/")],
                &["usr/local/lib/a", "usr/local/lib/b -> a"],
            ),
            // To a directory that no glob matches itself.
            (
                &["d/sub/x", "e/l -> ../d/sub"],
                vec![rule("d/sub/*", &[], "n/"), rule("e/*", &[], "m/")],
                &["m/l -> ../n", "n/x"],
            ),
            // To something outside the archive.
            (
                &["doc/x -> other-package", "doc/y -> /etc/y"],
                vec![rule("doc/*", &[], "n/m/")],
                &["n/m/x -> other-package", "n/m/y -> /etc/y"],
            ),
        ] {
            assert_eq!(placed(&archive(tree), &rules).unwrap(), wanted, "{tree:?}");
        }
    }

    #[test]
    fn hard_links_stay_hard_links() {
        let content = Content::bytes(*b"x");
        let mut tree = Stage::new();
        for name in ["d/a", "d/b"] {
            tree.insert(path(name), Node::file(content.clone(), 0o755))
                .unwrap();
        }
        let mut stage = Stage::new();
        place(&tree, &[rule("d/*", &[], "o/")], &mut stage).unwrap();
        let get = |name| match &stage.get(&path(name)).unwrap().kind {
            Kind::File(content) => content.clone(),
            other => panic!("{other:?}"),
        };
        assert!(get("o/a").is_same(&get("o/b")));
    }

    #[test]
    fn what_cannot_be_placed_is_named() {
        let tree = archive(&["bin/ctr*", "bin/containerd*", "man/ctr.8", "l -> bin/ctr"]);
        for (rules, message, help) in [
            (
                vec![rule("bin/crt", &[], "o/")],
                "nothing in the archive matches `bin/crt`",
                "the nearest it has: `bin/ctr`, `man/ctr.8`, `l`",
            ),
            (
                vec![rule("bin/*", &[], "o")],
                "`bin/*` matches 2 files, but `o` is one",
                "narrow the glob, or end `to` with `/` to make it a directory",
            ),
            (
                vec![rule("bin", &[], "o")],
                "`bin` matches 0 files, but `o` is one",
                "narrow the glob, or end `to` with `/` to make it a directory",
            ),
            (
                vec![rule("l", &[], "o/")],
                "the link `l` leads to `bin/ctr`, which is not placed",
                "place the target too, or leave the link out with `except`",
            ),
            (
                vec![rule("bin/*", &[], "o/"), rule("bin/ctr", &[], "o/")],
                "cannot place `bin/ctr`: `o/ctr` is there already",
                "change where it goes, or leave one of the two out with `except`",
            ),
            (
                vec![rule("bin/ctr", &[], "o"), rule("man/*", &[], "o/")],
                "cannot place `man/ctr.8`: `o/ctr.8` would lie below `o`, which is not a directory",
                "change where it goes, or leave one of the two out with `except`",
            ),
        ] {
            let error = placed(&tree, &rules).unwrap_err();
            assert_eq!(error.to_string(), message);
            assert_eq!(miette::Diagnostic::help(&error).unwrap().to_string(), help);
        }
        let error = placed(&Stage::new(), &[rule("x", &[], "y")]).unwrap_err();
        let help = miette::Diagnostic::help(&error).unwrap().to_string();
        assert_eq!(help, "the archive is empty");
    }
}
