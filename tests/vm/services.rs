//! Every service of the built-in appliance in a booted box: started by the boot, and
//! then managed. containerd is the real one; for the others, which no registry of
//! packages has, one small program stands (`services/pretend.c`), in archives laid
//! out as upstream's and given with `--file`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use tcforge::image::appliance::Appliance;
use tcforge::project::Project;
use tcforge::recipe::{Channel, Recipes};

use crate::appliance::{Booted, IMAGE, Image, SCRIPT, Setup, folder, on_each_base};

/// What the appliance of the test is called.
const NAME: &str = "services";

/// Boots once a base: a boot is what takes the time.
#[test]
fn every_service_of_the_appliance_is_managed() {
    let files = make_project();
    let args: Vec<_> = files.iter().flat_map(|file| ["--file", file]).collect();
    let images = on_each_base(NAME, &args);
    thread::scope(|scope| {
        for image in &images {
            scope.spawn(|| are_managed(image));
        }
    });
}

fn are_managed(image: &Image) {
    let mut booted = Setup::new(&image.iso).boot();
    for service in services() {
        // Tells which one it was, should the test be ended from outside.
        println!("{}: {service}", image.base);
        let answers = format!("service {service} answers");
        assert_eq!(booted.said(&answers).len(), 1, "{answers}");
        // `running` does so with containerd, whose restart takes longest.
        if service != "containerd" {
            is_managed(&mut booted, &service);
        }
    }
    all_come_back(&mut booted);
    a_core_service_comes_back(&mut booted);
    secrets_are_made(&mut booted);
    images_are_imported(&mut booted);
    left_containers_are_removed(&mut booted);
    one_who_asks_too_early_does_no_harm(&mut booted);
    the_providers_port_is_closed(&mut booted);
    booted.guest.power_off(SCRIPT).unwrap();
}

/// The services of the built-in appliance, in their order.
fn services() -> Vec<String> {
    let appliance = Appliance::load(&Project::built_in(), "appliance").unwrap();
    appliance
        .services
        .into_iter()
        .map(|service| service.name)
        .collect()
}

/// The built-in appliance under another name, with container images, and what
/// comes from Debian taken before what comes from elsewhere. Gives the values of
/// `--file`.
fn make_project() -> [String; 5] {
    let text = Project::built_in().read_text("iso/appliance.toml").unwrap();
    let channels = "channels = [\"current\", \"debian\"]";
    assert!(text.contains(channels), "{text}");
    let text = text.replace(channels, "channels = [\"debian\", \"current\"]");
    let image = |namespace| format!("\n[[image]]\nfile = \"check.tar\"\nnamespace = \"{namespace}\"\n");
    let file = folder().join(format!("project/iso/{NAME}.toml"));
    fs::write(file, text + &image("openfaas") + &image("openfaas-fn")).unwrap();
    let folder = folder().join("pretended");
    fs::create_dir_all(&folder).unwrap();
    let program = compile(&folder);
    let bytes = fs::read(&program).unwrap();
    let editor = "code-server-{version}-linux-amd64";
    let archive = |recipe, channel, files: &[(&str, &[u8])]| archive(&folder, recipe, channel, files);
    [
        format!("faasd={}", program.display()),
        format!("faas-cli={}", program.display()),
        archive(
            "buildkit",
            "current",
            &[("bin/buildkitd", &bytes), ("bin/buildctl", &bytes)],
        ),
        archive(
            "nodejs",
            "debian",
            &[("package/bin/node", &bytes), ("package/LICENSE", b"-")],
        ),
        archive(
            "code-server",
            "current",
            &[
                (&format!("{editor}/bin/code-server"), EDITOR),
                (&format!("{editor}/LICENSE"), b"-"),
            ],
        ),
    ]
}

/// What starts code-server in its release: its own node, found from where the
/// script really is.
const EDITOR: &[u8] = b"#!/bin/sh\n\
    root=$(dirname \"$(dirname \"$(readlink -f \"$0\")\")\")\n\
    exec \"$root/lib/node\" \"$root\" \"$@\"\n";

/// Writes the archive that a recipe of one asset asks for: what `--file` is told.
fn archive(folder: &Path, recipe: &str, channel: &str, files: &[(&str, &[u8])]) -> String {
    let project = Project::built_in();
    let channel = Channel::load(&project, channel).unwrap();
    let plan = Recipes::load(&project)
        .unwrap()
        .get(recipe)
        .unwrap()
        .plan(&channel);
    let plan = plan.unwrap();
    let file = folder.join(recipe);
    let out = GzEncoder::new(fs::File::create(&file).unwrap(), Compression::fast());
    let mut archive = tar::Builder::new(out);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        let name = name.replace("{version}", &plan.version);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
    format!("{}={}", plan.assets[0].name, file.display())
}

/// The program that stands for all of them.
fn compile(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vm/services/pretend.c");
    let program = folder.join("pretend");
    let mut gcc = Command::new("gcc");
    gcc.args(["-static", "-O1", "-s", "-o"]).arg(&program).arg(source);
    let output = gcc
        .output()
        .expect("gcc is needed: apt-get install gcc libc6-dev");
    assert!(output.status.success(), "{gcc:?}: {output:?}");
    program
}

/// A script of the service, which has to end with this status.
fn service(booted: &mut Booted, line: &str, status: i32) {
    let script = format!("/usr/local/etc/init.d/{line}");
    let output = booted.guest.run(&script, SCRIPT).unwrap();
    assert_eq!(output.status, status, "{line}: {}", output.text);
}

fn is_managed(booted: &mut Booted, name: &str) {
    service(booted, &format!("{name} status"), 0);
    let first = pid(booted, name);
    service(booted, &format!("{name} start"), 0);
    assert_eq!(pid(booted, name), first, "{name}: started when it ran already");
    service(booted, &format!("{name} restart"), 0);
    assert_ne!(pid(booted, name), first, "{name}: restart");
    service(booted, &format!("{name} stop"), 0);
    service(booted, &format!("{name} status"), 3);
    // As after a power cut: the pid of a process that is not the service's, for it
    // began at another time.
    booted.sh(&format!(
        "echo 1 >/var/run/{name}.pid; echo 999999999 >/var/run/{name}.since"
    ));
    service(booted, &format!("{name} start"), 0);
    assert_ne!(pid(booted, name), "1", "{name}: a stale pid file");
}

/// Each after what it needs, when all daemons are killed at once. One that is killed and
/// stopped at once stays stopped.
fn all_come_back(booted: &mut Booted) {
    let names = [
        "containerd",
        "buildkit",
        "faasd-provider",
        "faasd",
        "vscodeonline",
    ];
    let killed: Vec<_> = names.iter().map(|name| pid(booted, name)).collect();
    booted.sh(&format!("kill -9 {}", killed.join(" ")));
    let began = names.map(|name| {
        println!("killed: {name}");
        let status = until_restarted(booted, name, 1);
        assert!(status.contains("because it was ended by signal 9"), "{status}");
        let since = booted.sh(&format!("cat /var/run/{name}.since"));
        since.trim().parse::<u64>().unwrap()
    });
    assert!(began[0] < began[1] && began[0] < began[2], "{began:?}");
    assert!(began[2] < began[3], "{began:?}");
    let (editor, pid) = (names[4], pid(booted, names[4]));
    booted.sh(&format!("kill -9 {pid}; /usr/local/etc/init.d/{editor} stop"));
    service(booted, &format!("{editor} status"), 3);
    service(booted, &format!("{editor} start"), 0);
}

/// Waits until a service was started again so often and answers: its status.
fn until_restarted(booted: &mut Booted, name: &str, times: u32) -> String {
    booted.sh(&format!(
        "until grep -q '^{times} ' /var/run/{name}.restarts &&
            status=$(/usr/local/etc/init.d/{name} status); do sleep 1; done
        echo \"$status\""
    ))
}

/// faasd lives on without one. Another containerd changes nothing for either.
fn a_core_service_comes_back(booted: &mut Booted) {
    booted.sh(&format!("echo {IMAGE} >/var/lib/faasd/core"));
    service(booted, "faasd restart", 0);
    let containerd = pid(booted, "containerd");
    booted.sh(&format!("kill -9 {containerd}"));
    until_restarted(booted, "containerd", 2);
    booted.sh("kill -9 $(cat /run/containerd/io.containerd.runtime.v2.task/openfaas/nats/init.pid)");
    let status = until_restarted(booted, "faasd", 1);
    assert!(
        status.contains("because it has lost its core service nats"),
        "{status}"
    );
    booted.sh("rm /var/lib/faasd/core");
}

fn pid(booted: &mut Booted, name: &str) -> String {
    booted.sh(&format!("cat /var/run/{name}.pid")).trim().to_owned()
}

/// By the first start, and readable for nobody who should not.
fn secrets_are_made(booted: &mut Booted) {
    for (file, told) in [
        (
            "/var/lib/faasd/secrets/basic-auth-password",
            "the password for faasd is in ",
        ),
        (
            "/root/.config/code-server/password",
            "the password for vscodeonline is in ",
        ),
    ] {
        assert_eq!(booted.said(&format!("{told}{file}")).len(), 1, "{file}");
        assert_eq!(booted.sh(&format!("ls -l {file} | cut -c 1-10")), "-rw-------\n");
        let length: usize = booted.sh(&format!("wc -c <{file}")).trim().parse().unwrap();
        assert!(length >= 32, "{file}: {length} bytes");
    }
}

/// Where faasd and its provider take them from.
fn images_are_imported(booted: &mut Booted) {
    for namespace in ["openfaas", "openfaas-fn"] {
        let images = booted.sh(&format!("ctr -n {namespace} images ls -q"));
        assert_eq!(images, format!("{IMAGE}\n"), "{namespace}");
    }
}

/// Of a build that was cut off, and of core services whose faasd was killed.
fn left_containers_are_removed(booted: &mut Booted) {
    booted.sh(&format!(
        "mkdir -p /tmp/left
        ctr -n openfaas-fn containers create --rootfs /tmp/left left /bin/true
        ctr -n openfaas-fn containers create {IMAGE} function /bin/true
        ctr -n openfaas containers create {IMAGE} core /bin/true"
    ));
    service(booted, "buildkit restart", 0);
    // A function has an image.
    assert_eq!(booted.sh("ctr -n openfaas-fn containers ls -q"), "function\n");
    service(booted, "faasd restart", 0);
    assert_eq!(booted.sh("ctr -n openfaas containers ls -q"), "");
}

/// faasd's proxy ends for good if it is asked before the gateway is up. The script
/// does not do so; somebody else may.
fn one_who_asks_too_early_does_no_harm(booted: &mut Booted) {
    service(booted, "faasd stop", 0);
    booted.sh("(until nc 127.0.0.1 8080 </dev/null; do :; done) >/dev/null 2>&1 &");
    let output = booted.sh("/usr/local/etc/init.d/faasd start");
    assert!(output.contains("would not answer any more"), "{output}");
    service(booted, "faasd status", 0);
    service(booted, "faasd stop", 0);
    let output = booted.sh("/usr/local/etc/init.d/faasd start");
    assert!(!output.contains("would not answer any more"), "{output}");
}

/// The provider cannot be told to listen on loopback alone.
fn the_providers_port_is_closed(booted: &mut Booted) {
    let rule = "INPUT -p tcp --dport 8081 ! -i openfaas0 ! -d 127.0.0.0/8 -j DROP";
    booted.sh(&format!("iptables -C {rule}"));
    assert_eq!(booted.said("is open to the network"), Vec::<String>::new());
    service(booted, "faasd-provider stop", 0);
    let output = booted.guest.run(&format!("iptables -C {rule}"), SCRIPT).unwrap();
    assert_ne!(output.status, 0, "the rule is left: {}", output.text);
}
