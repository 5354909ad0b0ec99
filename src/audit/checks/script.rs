//! Scripts: whether what runs them, and what they call, is there.

use std::collections::BTreeSet;

use crate::audit::checks::Context;
use crate::audit::report::{Check, Findings, Level};
use crate::audit::shell::{self, Script, Sourced};
use crate::audit::subject::FileContent;
use crate::stage::TreePath;

/// Shells whose scripts are read.
const SHELLS: [&str; 5] = ["", "sh", "ash", "dash", "bash"];

/// Checks every script.
pub(in crate::audit) fn check(context: Context<'_>, findings: &mut Findings) {
    findings.made(&[Check::Shebang, Check::Command]);
    for (path, entry) in &context.subject.nodes {
        let Some(FileContent::Script { interpreter, text }) = entry.content() else {
            continue;
        };
        if entry.mode & 0o111 != 0 {
            shebang(context, path, interpreter, text.is_some(), findings);
        }
        let mut words = interpreter.split_whitespace();
        let shell = words.next().unwrap_or_default().rsplit('/').next();
        if let Some(text) = text
            && SHELLS.contains(&shell.unwrap_or_default())
        {
            commands(context, path, text, findings);
        }
    }
}

fn shebang(context: Context<'_>, path: &TreePath, interpreter: &str, service: bool, findings: &mut Findings) {
    let world = context.world;
    let (program, command) = split_interpreter(interpreter);
    let missing = if program.is_empty() {
        return;
    } else if !world.has_program(program) {
        program.rsplit('/').next().unwrap_or(program)
    } else {
        match command {
            Some(command) if !world.has_command(command) => command,
            _ => return,
        }
    };
    // Of a program's many scripts some are for those who develop it.
    let level = match service && world.unknown.is_empty() {
        true => Level::Error,
        false => Level::Warning,
    };
    let message = format!(
        "it is run by `{}`, which neither {} nor a dependency has{}",
        interpreter,
        world.base.title,
        world.unless_unknown()
    );
    let finding = findings.at(path, Check::Shebang, level, message);
    if let Some(name) = world.who_has_command(missing) {
        finding.hint(format!("add `{name}` to the .dep"));
    }
}

/// The program behind `#!`, and the command that it looks for if it is `env`.
fn split_interpreter(interpreter: &str) -> (&str, Option<&str>) {
    // Only blanks divide words here: a carriage return is part of one.
    let mut words = interpreter.split([' ', '\t']).filter(|word| !word.is_empty());
    let program = words.next().unwrap_or_default();
    let command = words.find(|word| !word.starts_with('-') && !word.contains('='));
    match program.ends_with("/env") {
        true => (program, command),
        false => (program, None),
    }
}

fn commands(context: Context<'_>, path: &TreePath, text: &str, findings: &mut Findings) {
    let rules = &context.rules.scripts;
    let script = shell::scan(text, rules);
    let Some(functions) = functions(context, &script) else {
        return;
    };
    let mut told = BTreeSet::new();
    for call in &script.calls {
        let name = call.name.as_str();
        let known = rules.builtins.contains(name) || functions.contains(name);
        if known || is_probed(&script, name) || is_there(context, name) || !told.insert(name) {
            continue;
        }
        let world = context.world;
        let message = format!(
            "line {}: it calls `{name}`, which neither {} nor a dependency has{}",
            call.line,
            world.base.title,
            world.unless_unknown()
        );
        let finding = findings.at(path, Check::Command, Level::Warning, message);
        let base_name = name.rsplit('/').next().unwrap_or(name);
        if let Some(name) = world.who_has_command(base_name) {
            finding.hint(format!("add `{name}` to the .dep"));
        }
    }
}

/// The functions of a script and of those that it reads in; `None` if it reads
/// in one that is not known, which may define anything.
fn functions(context: Context<'_>, script: &Script) -> Option<BTreeSet<String>> {
    let rules = &context.rules.scripts;
    let mut functions = script.functions.clone();
    for sourced in &script.sourced {
        let path = match sourced {
            Sourced::Path(path) => TreePath::parse_absolute(path).ok()?,
            Sourced::Beginning(beginning) if is_settings(context, beginning) => continue,
            Sourced::Beginning(_) => return None,
        };
        let own = context.subject.nodes.get(&path).and_then(|entry| entry.content());
        if let Some(known) = rules.functions.get(&path.to_string()) {
            functions.extend(known.iter().cloned());
        } else if let Some(FileContent::Script { text: Some(text), .. }) = own {
            functions.extend(shell::scan(text, rules).functions);
        } else if !is_settings(context, &format!("/{path}")) {
            return None;
        }
    }
    Some(functions)
}

/// Whether a file that is read in holds variables only, by the beginning of
/// its path.
fn is_settings(context: Context<'_>, beginning: &str) -> bool {
    let folders = &context.rules.scripts.settings;
    let mut inside = folders
        .iter()
        .filter_map(|folder| beginning.strip_prefix('/')?.strip_prefix(folder.as_str()));
    inside.any(|rest| rest.starts_with('/')) || beginning.ends_with(".conf")
}

fn is_probed(script: &Script, name: &str) -> bool {
    let same = |probed: &String| {
        let probed = probed.as_str();
        probed == name || probed.rsplit('/').next() == name.rsplit('/').next()
    };
    script.probed.iter().any(same)
}

/// Whether a command is there. What is called by a path elsewhere than in the
/// folders of commands may be made when the system runs.
fn is_there(context: Context<'_>, name: &str) -> bool {
    let world = context.world;
    match name.rsplit_once('/') {
        None => world.has_command(name),
        Some((folder, _)) => {
            let folder = TreePath::parse_absolute(folder).unwrap_or_default();
            !name.starts_with('/') || !world.base.path.contains(&folder) || world.has_program(name)
        }
    }
}
