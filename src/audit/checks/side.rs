//! The files beside an extension.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::audit::checks::Context;
use crate::audit::report::{Check, Findings, Level};
use crate::audit::world::dependencies;
use crate::stage::TreePath;
use crate::tcz::side::dep::{self, DepProblem, Dependency};
use crate::tcz::side::info::{self, Deviation, Info};
use crate::tcz::side::zsync::Zsync;
use crate::tcz::side::{Sums, list, md5, tree};

/// Checks every side file that is there.
pub(in crate::audit) fn check(context: Context<'_>, findings: &mut Findings) -> io::Result<()> {
    missing(context, findings);
    if let Some(text) = &context.subject.side.dep {
        let text = String::from_utf8_lossy(text);
        check_dep(context, &text, findings);
    }
    check_list(context, findings);
    check_info(context, findings)?;
    check_sums(context, findings)?;
    check_tree(context, findings);
    Ok(())
}

fn missing(context: Context<'_>, findings: &mut Findings) {
    findings.made(&[Check::SideFiles]);
    let missing = context.subject.side.missing();
    if !missing.is_empty() {
        let message = format!("there is no {} beside it", missing.join(", no "));
        findings
            .add(Check::SideFiles, Level::Warning, message)
            .hint("the official repository asks for them");
    }
}

fn check_dep(context: Context<'_>, text: &str, findings: &mut Findings) {
    findings.made(&[
        Check::Dep,
        Check::DepKernel,
        Check::DepCycle,
        Check::DepKnown,
        Check::DepRedundant,
    ]);
    let (names, errors) = dep::read(text);
    for error in errors {
        let level = match error.problem {
            DepProblem::Empty | DepProblem::Duplicate { .. } | DepProblem::NoNewline => Level::Warning,
            _ => Level::Error,
        };
        findings
            .add(Check::Dep, level, error.to_string())
            .hint("write one name a line, as `coreutils.tcz`, with no blanks and a newline at the end");
    }
    dep_kernel(context, &names, findings);
    dep_known(context, &names, findings);
    let world = context.world;
    let lookup = |name: &str| dependencies(name, world.shelf, world.base);
    match dep::closure(&context.subject.name, &world.base.kernel, &lookup) {
        Ok(_) => dep_redundant(context, &names, findings),
        Err(error) => {
            findings
                .add(Check::DepCycle, Level::Error, error.to_string())
                .hint("remove one of them from the `.dep` of the one before it");
        }
    }
}

fn dep_kernel(context: Context<'_>, names: &[Dependency], findings: &mut Findings) {
    let end = format!("-{}.tcz", context.world.base.kernel);
    for name in names {
        if let Some(stem) = name.name().strip_suffix(&end) {
            findings
                .add(
                    Check::DepKernel,
                    Level::Error,
                    format!("`{name}` is for one kernel only"),
                )
                .hint(format!("write `{stem}-KERNEL.tcz`"));
        }
    }
}

fn dep_known(context: Context<'_>, names: &[Dependency], findings: &mut Findings) {
    let world = context.world;
    for name in names {
        let file = name.for_kernel(&world.base.kernel);
        if world.shelf.contains_key(&file) || world.base.extension(&file).is_some() {
            continue;
        }
        if context.complete {
            let message = format!("there is no `{name}`");
            findings.add(Check::DepKnown, Level::Error, message);
        } else {
            let message = format!("nothing is known of `{name}`; what it gives is not checked");
            findings
                .add(Check::DepKnown, Level::Warning, message)
                .hint("put it beside the extension");
        }
    }
}

fn dep_redundant(context: Context<'_>, names: &[Dependency], findings: &mut Findings) {
    let world = context.world;
    let kernel = &world.base.kernel;
    let lookup = |name: &str| dependencies(name, world.shelf, world.base);
    let mut needed_by = BTreeMap::new();
    for other in names {
        for file in dep::closure(other.name(), kernel, &lookup).unwrap_or_default() {
            needed_by.entry(file).or_insert(other);
        }
    }
    for name in names {
        if let Some(other) = needed_by.get(&name.for_kernel(kernel)) {
            findings
                .add(
                    Check::DepRedundant,
                    Level::Warning,
                    format!("`{name}` is needed by `{other}` already"),
                )
                .hint("a .dep names direct dependencies only");
        }
    }
}

fn check_list(context: Context<'_>, findings: &mut Findings) {
    let Some(text) = &context.subject.side.list else {
        return;
    };
    findings.made(&[Check::List]);
    let listed = match list::parse(text) {
        Ok(listed) => listed,
        Err(error) => {
            findings.add(Check::List, Level::Error, error.to_string());
            return;
        }
    };
    let listed: BTreeSet<&TreePath> = listed.iter().collect();
    let files = context.subject.files();
    for path in files.difference(&listed) {
        findings.at(
            path,
            Check::List,
            Level::Error,
            "it is in the image, but not in the .list",
        );
    }
    for path in listed.difference(&files) {
        findings.at(
            path,
            Check::List,
            Level::Error,
            "it is in the .list, but not in the image",
        );
    }
}

fn check_info(context: Context<'_>, findings: &mut Findings) -> io::Result<()> {
    let subject = context.subject;
    let Some(text) = &subject.side.info else {
        return Ok(());
    };
    findings.made(&[Check::Info]);
    let (info, deviations) = Info::parse(text);
    for deviation in deviations {
        let level = match deviation {
            Deviation::CarriageReturn
            | Deviation::Missing(_)
            | Deviation::Empty(_)
            | Deviation::Date(_)
            | Deviation::NotUtf8 => Level::Error,
            _ => Level::Warning,
        };
        findings.add(Check::Info, level, deviation.to_string());
    }
    if !info.title.is_empty() && info.title != subject.name {
        let message = format!("the title is `{}`, not `{}`", info.title, subject.name);
        findings.add(Check::Info, Level::Error, message);
    }
    let length = std::fs::metadata(&subject.file)?.len();
    let fits = info::parse_size(&info.size).is_some_and(|(size, step)| (size - length as f64).abs() <= step);
    if !info.size.is_empty() && !fits {
        let message = format!("the size is given as `{}`, not `{}`", info.size, info::du(length));
        findings.add(Check::Info, Level::Warning, message);
    }
    Ok(())
}

fn check_sums(context: Context<'_>, findings: &mut Findings) -> io::Result<()> {
    let subject = context.subject;
    if subject.side.md5.is_none() && subject.side.zsync.is_none() {
        return Ok(());
    }
    let zsync = subject.side.zsync.as_deref().map(Zsync::parse);
    let layout = zsync.as_ref().and_then(|zsync| Some(zsync.as_ref().ok()?.layout));
    let sums = match &subject.sums {
        Some(sums) => Cow::Borrowed(sums),
        None => Cow::Owned(Sums::of_file(&subject.file, layout)?),
    };
    if let Some(text) = &subject.side.md5 {
        check_md5(&subject.name, &String::from_utf8_lossy(text), &sums, findings);
    }
    let Some(zsync) = zsync else { return Ok(()) };
    findings.made(&[Check::Zsync]);
    let wrong = match zsync {
        Err(error) => error.to_string(),
        Ok(zsync) if zsync.layout.length != sums.length || zsync.sha1 != sums.sha1 => {
            "it is that of another image".to_owned()
        }
        Ok(zsync) if zsync.sums != sums.blocks => "the sums of its blocks are wrong".to_owned(),
        Ok(zsync) if zsync.file_name != subject.name => {
            format!("it is made for `{}`", zsync.file_name)
        }
        Ok(_) => return Ok(()),
    };
    findings
        .add(Check::Zsync, Level::Error, wrong)
        .hint("make it anew: `zsyncmake -u NAME.tcz NAME.tcz`");
    Ok(())
}

fn check_md5(name: &str, text: &str, sums: &Sums, findings: &mut Findings) {
    findings.made(&[Check::Md5]);
    let wrong = match md5::parse(text) {
        Err(error) => error.to_string(),
        Ok((sum, _)) if sum != sums.md5 => format!("it says {sum}; the image has {}", sums.md5),
        Ok((_, file)) if file != name => format!("it is made for `{file}`"),
        Ok(_) => return,
    };
    findings
        .add(Check::Md5, Level::Error, wrong)
        .hint("fetch the extension again, or make the sum anew: `md5sum NAME.tcz > NAME.tcz.md5.txt`");
}

/// The tree's first two levels are those of the `.dep`; further down it goes
/// by files that may not be at hand.
fn check_tree(context: Context<'_>, findings: &mut Findings) {
    let Some(text) = &context.subject.side.tree else {
        return;
    };
    findings.made(&[Check::Tree]);
    let text = String::from_utf8_lossy(text);
    let wrong = match tree::parse(&text) {
        Err(error) => error.to_string(),
        Ok(nodes) => {
            let world = context.world;
            let own = dependencies(&context.subject.name, world.shelf, world.base);
            let wanted: BTreeSet<String> = own.iter().map(|d| d.for_kernel(&world.base.kernel)).collect();
            let direct = nodes.iter().filter(|(depth, _)| *depth == 1);
            let direct: BTreeSet<String> = direct.map(|(_, name)| (*name).to_owned()).collect();
            if nodes[0].1 == context.subject.name && direct == wanted {
                return;
            }
            "it is not that of the .dep".to_owned()
        }
    };
    findings
        .add(Check::Tree, Level::Warning, wrong)
        .hint("remove it; a mirror makes it anew");
}
