//! Renders the shell scripts of an extension from the templates of `initd/`.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, context};

use crate::project::{Project, ProjectError};

/// What a template can name.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// `name`: the script's own name, as in `/usr/local/etc/init.d/NAME`.
    pub name: &'a str,
    /// `extension`: the extension that carries it, without `.tcz`.
    pub extension: &'a str,
    /// `version`: the version of the release that is packed.
    pub version: &'a str,
    /// `persistent`: absolute paths of the directories that hold state.
    pub persistent: &'a [String],
    /// `libraries`: whether shared libraries are shipped, so that `ldconfig`
    /// has to be run.
    pub libraries: bool,
    /// `with`: the recipe's own values for the template.
    pub with: &'a BTreeMap<String, toml::Value>,
}

/// A template that could not be rendered.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum InitdError {
    /// It, or one that it includes, is not there.
    #[error("there is no template `{0}`")]
    #[diagnostic(help(
        "the templates are the files of `initd/`; a recipe names one as `template = \"containerd.sh\"`"
    ))]
    Missing(String),
    /// A file could not be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Project(#[from] ProjectError),
    /// It is not a template, or names a value that it was not given.
    #[error("template `{template}`, line {line}: {reason}")]
    #[diagnostic(help(
        "a template can name `name`, `extension`, `version`, `persistent`, `libraries`, and what \
         the recipe gives it as `with`; the comment at its top says which it needs"
    ))]
    Template {
        /// The data file.
        template: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it, in the template engine's words.
        reason: String,
    },
}

/// Renders `template`: the name of a file in `initd/` (`containerd.sh`), or of
/// any data file of the project (`recipes/faasd/resolv.conf.orig`).
///
/// A value that is not there is an error, never an empty string. Values are put
/// in as they are; the filter `sh` quotes one for the shell.
pub fn render(project: &Project, template: &str, context: &Context<'_>) -> Result<String, InitdError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(syntax().map_err(|error| explain(template, &error))?);
    environment.add_filter("sh", |value: &Value| quote(&value.to_string()));
    let project = project.clone();
    environment.set_loader(move |name| match read(&project, name) {
        Ok(text) => Ok(Some(text)),
        Err(ProjectError::Missing(_)) => Ok(None),
        Err(error) => {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, error.to_string()).with_source(error))
        }
    });
    environment
        .get_template(template)
        .and_then(|found| found.render(values(context)))
        .map_err(|error| explain(template, &error))
}

/// Tags stand on lines of their own and vanish with them; `{#` is the shell's (`${#word}`).
fn syntax() -> Result<SyntaxConfig, minijinja::Error> {
    SyntaxConfig::builder()
        .comment_delimiters("{##", "##}")
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
}

fn read(project: &Project, name: &str) -> Result<String, ProjectError> {
    match project.read_text(&format!("initd/{name}")) {
        Err(ProjectError::Missing(_)) => project.read_text(name),
        found => found,
    }
}

fn values(context: &Context<'_>) -> Value {
    let with: BTreeMap<String, Value> = context
        .with
        .iter()
        .map(|(key, value)| (key.clone(), to_value(value)))
        .collect();
    context! {
        name => context.name,
        extension => context.extension,
        version => context.version,
        persistent => context.persistent.to_vec(),
        libraries => context.libraries,
        with => with,
    }
}

fn to_value(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Datetime(date) => Value::from(date.to_string()),
        toml::Value::Array(values) => Value::from(values.iter().map(to_value).collect::<Vec<_>>()),
        toml::Value::Table(table) => {
            let pairs = table.iter().map(|(key, value)| (key.clone(), to_value(value)));
            Value::from(pairs.collect::<BTreeMap<_, _>>())
        }
    }
}

/// Quotes a text so that the shell reads it as one word.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn explain(template: &str, error: &minijinja::Error) -> InitdError {
    // One that is included has a line: that of the tag.
    if error.kind() == ErrorKind::TemplateNotFound && error.line().is_none() {
        return InitdError::Missing(template.to_owned());
    }
    // An error in an included file is the cause of one at the place that includes it.
    let mut innermost = error;
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause.and_then(|cause| cause.downcast_ref::<minijinja::Error>()) {
        innermost = next;
        cause = std::error::Error::source(next);
    }
    let detail = innermost.detail().map(|detail| format!(": {detail}"));
    InitdError::Template {
        template: innermost.name().or(error.name()).unwrap_or(template).to_owned(),
        line: innermost.line().or(error.line()).unwrap_or(1),
        reason: format!("{}{}", innermost.kind(), detail.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let project = Project::in_folder(dir.path());
        (dir, project)
    }

    fn context<'a>(with: &'a BTreeMap<String, toml::Value>) -> Context<'a> {
        Context {
            name: "hello",
            extension: "greetings",
            version: "1.2",
            persistent: &[],
            libraries: false,
            with,
        }
    }

    #[test]
    fn a_template_sees_the_recipes_values_and_what_it_includes() {
        let (_dir, project) = project(&[
            (
                "initd/a.sh",
                "{{ name }} {{ with.list | map('sh') | join(' ') }}\n{% include 'lib/b.sh' %}\n",
            ),
            (
                "initd/lib/b.sh",
                "{% if with.deep.yes %}{{ version }}{% endif %}<&>\n",
            ),
            ("recipes/x/c", "{{ extension | sh }}"),
        ]);
        let with = toml::from_str("list = ['a b', \"it's\", 3]\ndeep = { yes = true }").unwrap();
        let rendered = render(&project, "a.sh", &context(&with)).unwrap();
        assert_eq!(rendered, "hello 'a b' 'it'\\''s' '3'\n1.2<&>\n");
        assert_eq!(
            render(&project, "recipes/x/c", &context(&with)).unwrap(),
            "'greetings'"
        );
    }

    #[test]
    fn an_error_names_the_file_and_the_line() {
        let (_dir, project) = project(&[
            ("initd/undefined.sh", "fine\n{{ with.port }}\n"),
            ("initd/outer.sh", "\n{% include 'lib/inner.sh' %}\n"),
            ("initd/lib/inner.sh", "\n\n\n{{ nothing }}\n"),
            ("initd/syntax.sh", "{% if %}\n"),
            ("initd/lost.sh", "\n{% include 'lib/none.sh' %}\n"),
        ]);
        let cases = [
            ("undefined.sh", "template `undefined.sh`, line 2: undefined value"),
            ("outer.sh", "template `lib/inner.sh`, line 4: undefined value"),
            ("syntax.sh", "template `syntax.sh`, line 1: syntax error"),
            ("lost.sh", "template `lost.sh`, line 2: template not found"),
            ("none.sh", "there is no template `none.sh`"),
        ];
        for (template, expected) in cases {
            let error = render(&project, template, &context(&BTreeMap::new())).unwrap_err();
            let message = error.to_string();
            assert!(message.starts_with(expected), "{template}: {message}");
        }
    }
}
