//! The scripts of `initd/`: rendered as recipes render them, and run for real,
//! in machines of their own (`machine`), by the shells that Tiny Core and Debian
//! have.

mod boot;
mod lint;
mod machine;
mod makers;
mod preparations;
mod rest;
#[path = "../shared/screen.rs"]
mod screen;
mod services;
mod supervision;

use std::collections::BTreeMap;

use tcforge::initd::{Context, render};
use tcforge::project::Project;

/// One script as a recipe asks for it.
struct Script {
    name: &'static str,
    template: &'static str,
    version: &'static str,
    with: &'static str,
}

impl Script {
    fn render(&self) -> String {
        rendered(
            self.name,
            self.template,
            self.version,
            &toml::from_str(self.with).unwrap(),
        )
    }
}

fn rendered(name: &str, template: &str, version: &str, with: &BTreeMap<String, toml::Value>) -> String {
    let context = Context {
        name,
        extension: name,
        version,
        persistent: &["/var/lib/state".to_owned()],
        libraries: true,
        with,
    };
    render(&Project::built_in(), template, &context).unwrap()
}
