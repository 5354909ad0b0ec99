//! What can be said of the scripts without running them.

use std::path::Path;
use std::process::Command;

use super::Script;

/// Every template with every kind of values that it knows.
const VARIATIONS: &[Script] = &[
    Script { name: "containerd", template: "containerd.sh", version: "1.7.34", with: "" },
    Script {
        name: "containerd-few",
        template: "containerd.sh",
        version: "1.4.4",
        with: "modules = ['overlay']\nargs = ['--log-level', \"it's\"]\ntimeout = 10\nstop_timeout = 5",
    },
    Script { name: "buildkit", template: "buildkit.sh", version: "0.8.1", with: "" },
    Script { name: "buildkit-args", template: "buildkit.sh", version: "0.8.1", with: "args = ['--debug']" },
    Script { name: "faasd-provider", template: "faasd-provider.sh", version: "0.19.0", with: "" },
    Script {
        name: "faasd-provider-open",
        template: "faasd-provider.sh",
        version: "0.19.0",
        with: "guard = false\npull_policy = 'Always'\nargs = ['-x']",
    },
    Script { name: "faasd", template: "faasd.sh", version: "0.19.0", with: "" },
    Script { name: "faasd-images", template: "faasd.sh", version: "0.10.2", with: "images = ['/a', '/b c']" },
    Script { name: "vscodeonline", template: "vscodeonline.sh", version: "4.139.1", with: "" },
    Script { name: "vscodeonline-tc", template: "vscodeonline.sh", version: "4.139.1", with: "user = 'tc'\nargs = ['-v']" },
    Script { name: "makedockerconfig", template: "makedockerconfig.sh", version: "0.8.1", with: "" },
    Script { name: "makevscodeconfig", template: "makevscodeconfig.sh", version: "4.139.1", with: "" },
    Script { name: "makevscodeconfig-old", template: "makevscodeconfig.sh", version: "3.8.0", with: "hash = 'sha256'" },
    Script { name: "makevscodeconfig-plain", template: "makevscodeconfig.sh", version: "3.8.0", with: "hash = 'none'" },
    Script { name: "tce.installed", template: "tce.installed.sh", version: "1", with: "" },
    Script { name: "tce.installed-64", template: "tce.installed.sh", version: "1", with: "lib64 = true" },
];

#[test]
fn shellcheck_finds_nothing() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("initd-rendered");
    std::fs::create_dir_all(&dir).unwrap();
    let mut files = Vec::new();
    for script in VARIATIONS {
        let path = dir.join(script.name);
        std::fs::write(&path, script.render()).unwrap();
        files.push(path);
    }
    // dash's dialect is busybox ash's: POSIX.
    let output = Command::new("shellcheck")
        .args(["--shell=sh", "--format=gcc"])
        .args(&files)
        .output()
        .expect("shellcheck is needed: apt-get install shellcheck");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The files that recipes render besides scripts.
#[test]
fn configuration_files_render() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("initd-rendered");
    std::fs::create_dir_all(&dir).unwrap();
    for version in ["0.10.2", "0.19.0"] {
        let compose = Script { name: "faasd", template: "recipes/faasd/docker-compose.yaml", version, with: "" };
        std::fs::write(dir.join(format!("docker-compose-{version}.yaml")), compose.render()).unwrap();
    }
}
