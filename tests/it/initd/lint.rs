//! What can be said of the scripts without running them.

use std::collections::BTreeMap;
use std::process::Command;

use tcforge::project::Project;

use super::{Script, rendered};

/// Every template with every kind of values that it knows.
const VARIATIONS: &[Script] = &[
    Script {
        name: "containerd",
        template: "containerd.sh",
        version: "1.7.34",
        with: "",
    },
    Script {
        name: "containerd-few",
        template: "containerd.sh",
        version: "1.4.4",
        with: "modules = ['overlay']\nargs = ['--log-level', \"it's\"]\ntimeout = 10\nstop_timeout = 5",
    },
    Script {
        name: "buildkit",
        template: "buildkit.sh",
        version: "0.8.1",
        with: "",
    },
    Script {
        name: "buildkit-args",
        template: "buildkit.sh",
        version: "0.8.1",
        with: "args = ['--debug']",
    },
    Script {
        name: "faasd-provider",
        template: "faasd-provider.sh",
        version: "0.19.0",
        with: "",
    },
    Script {
        name: "faasd-provider-open",
        template: "faasd-provider.sh",
        version: "0.19.0",
        with: "guard = false\npull_policy = 'Always'\nargs = ['-x']",
    },
    Script {
        name: "faasd",
        template: "faasd.sh",
        version: "0.19.0",
        with: "",
    },
    Script {
        name: "faasd-images",
        template: "faasd.sh",
        version: "0.10.2",
        with: "images = ['/a', '/b c']",
    },
    Script {
        name: "vscodeonline",
        template: "vscodeonline.sh",
        version: "4.139.1",
        with: "",
    },
    Script {
        name: "vscodeonline-tc",
        template: "vscodeonline.sh",
        version: "4.139.1",
        with: "user = 'tc'\nargs = ['-v']",
    },
    Script {
        name: "makedockerconfig",
        template: "makedockerconfig.sh",
        version: "0.8.1",
        with: "",
    },
    Script {
        name: "makevscodeconfig",
        template: "makevscodeconfig.sh",
        version: "4.139.1",
        with: "",
    },
    Script {
        name: "makevscodeconfig-old",
        template: "makevscodeconfig.sh",
        version: "3.8.0",
        with: "hash = 'sha256'",
    },
    Script {
        name: "makevscodeconfig-plain",
        template: "makevscodeconfig.sh",
        version: "3.8.0",
        with: "hash = 'none'",
    },
    Script {
        name: "tce.installed",
        template: "tce.installed.sh",
        version: "1",
        with: "",
    },
    Script {
        name: "tce.installed-64",
        template: "tce.installed.sh",
        version: "1",
        with: "lib64 = true",
    },
];

/// The services of every recipe, each with every release's version.
fn of_recipes() -> Vec<(String, String)> {
    let project = Project::built_in();
    let mut scripts = Vec::new();
    for recipe in project.folders("recipes").unwrap() {
        let Ok(text) = project.read_text(&format!("recipes/{recipe}/recipe.toml")) else {
            continue;
        };
        let table: toml::Table = toml::from_str(&text).unwrap();
        let services = table.get("service").and_then(toml::Value::as_array);
        for service in services.into_iter().flatten() {
            let field = |key| service.get(key).and_then(toml::Value::as_str).unwrap();
            let with = service.get("with").and_then(toml::Value::as_table);
            let with: BTreeMap<_, _> = with.cloned().unwrap_or_default().into_iter().collect();
            for (channel, release) in table["release"].as_table().unwrap() {
                let version = release["version"].as_str().unwrap();
                let mut with = with.clone();
                let own = release.get("with").and_then(|with| with.get(field("name")));
                with.extend(own.and_then(toml::Value::as_table).cloned().unwrap_or_default());
                let text = rendered(field("name"), field("template"), version, &with);
                scripts.push((format!("{recipe}-{}-{channel}", field("name")), text));
            }
        }
    }
    scripts
}

/// All of them, by a name.
fn all_scripts() -> impl Iterator<Item = (String, String)> {
    VARIATIONS
        .iter()
        .map(|script| (script.name.to_owned(), script.render()))
        .chain(of_recipes())
}

#[test]
fn what_is_for_the_templates_reader_stays_in_the_template() {
    for (name, text) in all_scripts() {
        assert!(text.starts_with("#!/bin/sh\n# "), "{name}:\n{text}");
        for rest in ["{{", "{%", "{##", "##}", "`with`", "of the recipe"] {
            assert!(!text.contains(rest), "{name} has {rest}:\n{text}");
        }
    }
}

#[test]
fn shellcheck_finds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (name, text) in all_scripts() {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        files.push(path);
    }
    // This shellcheck has no dialect for busybox; POSIX is stricter.
    let output = Command::new("shellcheck")
        .args(["--shell=sh", "--format=gcc"])
        .args(&files)
        .output()
        .expect("shellcheck is needed: apt-get install shellcheck");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// The services of a compose file, the image of each, and what it publishes.
fn composed(version: &'static str) -> Vec<(String, String, Vec<String>)> {
    let compose = Script {
        name: "faasd",
        template: "recipes/faasd/docker-compose.yaml",
        version,
        with: "",
    };
    let mut services: Vec<(String, String, Vec<String>)> = Vec::new();
    for line in compose.render().lines() {
        let name = line.strip_prefix("  ").and_then(|line| line.strip_suffix(':'));
        if let Some(name) = name.filter(|name| !name.starts_with(' ')) {
            services.push((name.to_owned(), String::new(), Vec::new()));
        } else if let Some(image) = line.strip_prefix("    image: ") {
            services.last_mut().unwrap().1 = image.to_owned();
        } else if let Some(port) = line.strip_prefix("      - \"") {
            services
                .last_mut()
                .unwrap()
                .2
                .push(port.trim_end_matches('"').to_owned());
        }
    }
    services
}

#[test]
fn faasds_services_are_those_of_its_version_and_listen_on_loopback() {
    let gateway = "127.0.0.1:8080:8080";
    let prometheus = "127.0.0.1:9090:9090";
    let cases = [
        (
            "0.10.2",
            vec![
                ("basic-auth-plugin", "ghcr.io/openfaas/basic-auth:0.20.5", vec![]),
                ("nats", "docker.io/library/nats-streaming:0.11.2", vec![]),
                (
                    "prometheus",
                    "docker.io/prom/prometheus:v2.14.0",
                    vec![prometheus],
                ),
                ("gateway", "ghcr.io/openfaas/gateway:0.20.7", vec![gateway]),
                ("queue-worker", "docker.io/openfaas/queue-worker:0.11.2", vec![]),
            ],
        ),
        (
            "0.19.0",
            vec![
                ("nats", "docker.io/library/nats-streaming:0.25.6", vec![]),
                (
                    "prometheus",
                    "docker.io/prom/prometheus:v2.49.1",
                    vec![prometheus],
                ),
                ("gateway", "ghcr.io/openfaas/gateway:0.27.5", vec![gateway]),
                ("queue-worker", "ghcr.io/openfaas/queue-worker:0.14.1", vec![]),
            ],
        ),
    ];
    for (version, expected) in cases {
        let composed = composed(version);
        let composed: Vec<_> = composed
            .iter()
            .map(|(name, image, ports)| {
                (
                    name.as_str(),
                    image.as_str(),
                    ports.iter().map(String::as_str).collect(),
                )
            })
            .collect();
        assert_eq!(composed, expected, "{version}");
    }
}
