//! What services and tce.installed scripts make before anything runs.

use std::os::unix::fs::MetadataExt;

use super::Script;
use super::machine::{Machine, is_root, shims, systems, tc};
use super::services::{boot, expect, pid, service};

/// A start of containerd that gets as far as its preparations, on a machine
/// whose kernel shows these files in /proc. Returns what was mounted.
fn mounts_made(machine: &mut Machine, mounts: &str, cgroups: &str) -> Vec<String> {
    machine.write("/proc-made/mounts", mounts);
    machine.write("/proc-made/cgroups", cgroups);
    machine.write("/proc-made/uptime", "1.00 1.00\n");
    let script = Script {
        name: "containerd",
        template: "containerd.sh",
        version: "1.4.4",
        with: "",
    }
    .render();
    // What a table for `mount -a -T` asks for is noted as if each had been mounted alone.
    let noted = "#!/bin/sh\n\
        mount() {\n\
            case $1 in\n\
            -a) while read -r what where type options; do mount -t $type -o $options $what $where; done <$3 ;;\n\
            *) echo \"mount $*\" >>/var/calls ;;\n\
            esac\n\
        }\n\
        modprobe() { :; }\n";
    machine.install(
        "/usr/local/etc/init.d/containerd",
        &script.replacen("#!/bin/sh\n", noted, 1),
    );
    // What cannot be seen to live there is not waited for.
    machine.write("/etc/fake/containerd", "dies");
    machine.write("/etc/default/containerd", "TRIES=1\n");
    machine.run("rm -f /var/calls; mount --bind /proc-made /proc; mount --bind /proc-made /proc 2>/dev/null");
    machine.run("/usr/local/etc/init.d/containerd start");
    machine.run("umount /proc; umount /proc");
    let calls = machine.run("cat /var/calls 2>/dev/null").stdout;
    calls.lines().map(str::to_owned).collect()
}

#[test]
fn control_groups_are_mounted_where_they_are_not() {
    let cgroups = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
                   cpuset\t0\t1\t1\ncpu\t0\t1\t1\ncpuacct\t0\t1\t1\nmemory\t0\t1\t0\npids\t0\t1\t1\n";
    let tmpfs = "mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup";
    let of = |name: &str| format!("mount -t cgroup -o {name} cgroup /sys/fs/cgroup/{name}");
    let cases = [
        (
            "rootfs / rootfs rw 0 0\nsysfs /sys sysfs rw 0 0\n",
            vec![
                tmpfs.to_owned(),
                of("cpuset"),
                of("cpu"),
                of("cpuacct"),
                of("pids"),
            ],
        ),
        (
            "tmpfs / tmpfs rw 0 0\ncgroup /sys/fs/cgroup tmpfs rw 0 0\n\
             cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n",
            vec![of("cpuset"), of("pids")],
        ),
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", vec![]),
        (
            "cgroup /sys/fs/cgroup tmpfs rw 0 0\ncgroup /a cgroup rw,cpuset,pids 0 0\n\
             cgroup /b cgroup rw,cpu,cpuacct 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
            vec![],
        ),
    ];
    for system in systems() {
        for (mounts, expected) in &cases {
            let mut machine = boot(&system);
            assert_eq!(
                mounts_made(&mut machine, mounts, cgroups),
                *expected,
                "{}: {mounts}",
                system.name
            );
        }
    }
}

#[test]
fn containerd_finds_what_tiny_core_lacks() {
    for system in systems() {
        let mut machine = boot(&system);
        let script = Script {
            name: "containerd",
            template: "containerd.sh",
            version: "1.4.4",
            with: "modules = ['overlay', 'veth']\nargs = ['--log-level', 'a b']",
        };
        let noted = format!(
            "#!/bin/sh\n{}mount() {{ :; }}\nmodprobe() {{ echo \"$1\" >>/var/modules; false; }}\n",
            shims()
        );
        machine.install(
            "/usr/local/etc/init.d/containerd",
            &script.render().replacen("#!/bin/sh\n", &noted, 1),
        );
        machine.run("echo 0 >/proc/sys/net/ipv4/ip_forward");
        let outcome = service(&mut machine, "containerd start");
        // Neither is fatal: they may be built in.
        expect(&outcome, 0, &["modules not loaded: ", " veth"], system.name);
        assert_eq!(
            machine.read("/var/modules"),
            "-a\noverlay\nveth\n",
            "{}",
            system.name
        );
        let forwarding =
            machine.run("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/all/forwarding");
        assert_eq!(forwarding.stdout, "1\n1\n", "{}", system.name);
        assert_eq!(
            std::fs::read_link(machine.path("/lib64")).unwrap().to_str(),
            Some("lib"),
            "{}",
            system.name
        );
        assert!(machine.exists("/var/lib/state"), "{}", system.name);
        assert!(
            machine
                .read("/var/log/containerd.log")
                .starts_with("containerd --log-level a b in /\n")
        );
        // With a configuration, and with a link that somebody else made.
        machine.write("/etc/containerd/config.toml", "");
        machine.run("rm /lib64; ln -s usr/lib /lib64");
        expect(&service(&mut machine, "containerd restart"), 0, &[], system.name);
        let log = machine.read("/var/log/containerd.log");
        assert!(
            log.starts_with("containerd --config /etc/containerd/config.toml --log-level a b"),
            "{log}"
        );
        assert_eq!(
            std::fs::read_link(machine.path("/lib64")).unwrap().to_str(),
            Some("usr/lib")
        );
    }
}

#[test]
fn buildkit_has_a_configuration_and_no_remains() {
    for system in systems() {
        let mut machine = boot(&system);
        machine.write(
            "/var/list.openfaas-fn.containers",
            "CONTAINER    IMAGE                        RUNTIME\nhello        docker.io/local/hello:latest runc\nremains      -                            runc\n",
        );
        let outcome = service(&mut machine, "buildkit start");
        expect(
            &outcome,
            0,
            &["removing remains, which an interrupted build left"],
            system.name,
        );
        assert_eq!(
            machine.read("/var/calls"),
            "ctr -n openfaas-fn tasks rm -f remains\nctr -n openfaas-fn containers rm remains\n",
        );
        let config = "/etc/buildkit/buildkitd.toml";
        assert_eq!(machine.read(config), "namespace = \"openfaas-fn\"\n");
        assert!(
            machine
                .read("/var/log/buildkit.log")
                .starts_with(&format!("buildkitd --config {config} in /\n"))
        );
        machine.write(config, "namespace = \"mine\"\n");
        expect(&service(&mut machine, "buildkit restart"), 0, &[], system.name);
        assert_eq!(
            machine.read(config),
            "namespace = \"mine\"\n",
            "an edited file was replaced"
        );
    }
}

#[test]
fn the_provider_has_secrets_and_is_closed_to_others() {
    for system in systems() {
        let mut machine = boot(&system);
        let secrets = "/var/lib/faasd/secrets";
        let outcome = service(&mut machine, "faasd-provider start");
        let kept = format!("it is kept in {secrets}/basic-auth-password");
        expect(&outcome, 0, &[&kept], system.name);
        let password = machine.read(&format!("{secrets}/basic-auth-password"));
        assert!(
            password.len() == 63 && password.chars().all(|c| c.is_ascii_alphanumeric()),
            "{password}"
        );
        assert_eq!(machine.read(&format!("{secrets}/basic-auth-user")), "admin");
        assert_eq!(machine.mode(secrets), 0o700);
        for secret in ["basic-auth-user", "basic-auth-password"] {
            let secret = format!("{secrets}/{secret}");
            assert_eq!(
                (machine.mode(&secret), machine.owner(&secret).as_str()),
                (0o600, "65534:65534")
            );
        }
        let log = machine.read("/var/log/faasd-provider.log");
        for line in [
            "faasd-provider provider --pull-policy=IfNotPresent in /var/lib/faasd-provider\n",
            "env secret_mount_path=/var/lib/faasd/secrets\n",
            "env basic_auth=true\n",
            "env hosts_dir=/var/lib/faasd\n",
        ] {
            assert!(log.contains(line), "no `{line}` in {log}");
        }
        let rules = "INPUT -p tcp --dport 8081 ! -i openfaas0 ! -d 127.0.0.0/8 -j DROP\n\
                     FORWARD ! -i openfaas0 -o openfaas0 -m conntrack --ctstate NEW -j DROP\n";
        assert_eq!(machine.read("/var/rules"), rules, "{}", system.name);

        // The daemon writes this file at its start; functions have it mounted.
        machine.write("/var/lib/faasd/resolv.conf", "nameserver 10.0.0.1\n");
        let resolv = "/var/lib/faasd-provider/resolv.conf";
        let inode = std::fs::metadata(machine.path(resolv)).unwrap().ino();
        let outcome = service(&mut machine, "faasd-provider restart");
        expect(&outcome, 0, &[], system.name);
        assert_eq!(machine.read(resolv), "nameserver 10.0.0.1\n");
        assert_eq!(
            std::fs::metadata(machine.path(resolv)).unwrap().ino(),
            inode,
            "the mounted file was replaced"
        );
        assert_eq!(
            machine.read(&format!("{secrets}/basic-auth-password")),
            password,
            "a new password"
        );
        assert_eq!(machine.read("/var/rules"), rules, "{}", system.name);
        let all = machine.run("cat /var/log/* /proc/[0-9]*/cmdline").stdout + &outcome.text();
        assert!(
            !all.contains(&password),
            "{}: the password can be seen",
            system.name
        );
        expect(&service(&mut machine, "faasd-provider stop"), 0, &[], system.name);
        assert_eq!(machine.read("/var/rules"), "", "{}", system.name);

        machine.run("rm /opt/cni/bin/bridge");
        let outcome = service(&mut machine, "faasd-provider start");
        expect(&outcome, 1, &["network plugins are missing"], system.name);
    }
}

/// Writes an image archive with this index; what it will be called once it is
/// imported stands beside it.
fn archive(machine: &Machine, path: &str, index: &str, json: &str, imported: &str) {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in [("blobs/sha256/0", "layer"), (index, json)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    machine.write(path, tar.into_inner().unwrap());
    machine.write(&format!("{path}.names"), format!("{imported}\n"));
}

#[test]
fn faasd_imports_the_images_that_the_box_holds() {
    for system in systems() {
        let mut machine = boot(&system);
        let shipped = "/usr/local/share/faasd/images";
        archive(
            &machine,
            &format!("{shipped}/gateway.tar"),
            "index.json",
            r#"{"manifests":[{"annotations":{"io.containerd.image.name":"ghcr.io/openfaas/gateway:0.27.5","x":"y"}}]}"#,
            "ghcr.io/openfaas/gateway:0.27.5",
        );
        archive(
            &machine,
            &format!("{shipped}/nats.tar"),
            "manifest.json",
            "[{\"Config\":\"c\",\"RepoTags\":[\"nats:1\",\n\"prom/prometheus:2\"],\"Layers\":[\"l\"]}]",
            "docker.io/library/nats:1\ndocker.io/prom/prometheus:2",
        );
        machine.write(&format!("{shipped}/damaged.tar"), "damaged");
        machine.write("/etc/sysconfig/tcedir", "/mnt/sda1/tce\n");
        archive(
            &machine,
            "/mnt/sda1/tce/faasd/images/functions/hello.tar",
            "manifest.json",
            r#"[{"RepoTags":["localhost:5000/hello:latest"]}]"#,
            "localhost:5000/hello:latest",
        );
        let outcome = service(&mut machine, "faasd start");
        expect(
            &outcome,
            0,
            &["cannot import /usr/local/share/faasd/images/damaged.tar"],
            system.name,
        );
        let import = |namespace: &str, file: &str| format!("ctr -n {namespace} images import {file}\n");
        let damaged = import("openfaas", &format!("{shipped}/damaged.tar"));
        let expected = [
            damaged.clone(),
            damaged.clone(),
            import("openfaas", &format!("{shipped}/gateway.tar")),
            import("openfaas", &format!("{shipped}/nats.tar")),
            import("openfaas-fn", "/mnt/sda1/tce/faasd/images/functions/hello.tar"),
        ];
        assert_eq!(machine.read("/var/calls"), expected.concat(), "{}", system.name);
        let log = machine.read("/var/log/faasd.log");
        assert!(log.starts_with("faasd-up up in /var/lib/faasd\n"), "{log}");

        // Again: what is there is left alone, and so is what somebody edited.
        machine.write("/var/lib/faasd/docker-compose.yaml", "edited");
        machine.run(&format!(
            "rm /var/calls {shipped}/damaged.tar; echo remains >/var/list.openfaas.containers"
        ));
        expect(&service(&mut machine, "faasd restart"), 0, &[], system.name);
        let calls = machine.read("/var/calls");
        assert!(!calls.contains("import"), "{}: {calls}", system.name);
        assert!(
            calls.contains("ctr -n openfaas containers rm remains\n"),
            "{}: {calls}",
            system.name
        );
        assert_eq!(machine.read("/var/lib/faasd/docker-compose.yaml"), "edited");
        assert_eq!(machine.read("/var/lib/faasd/prometheus.yml"), "prometheus.yml\n");
    }
}

#[test]
fn the_editor_runs_as_the_recipe_says() {
    for system in systems() {
        let mut machine = boot(&system);
        let script = Script {
            name: "vscodeonline",
            template: "vscodeonline.sh",
            version: "4.139.1",
            with: "user = 'tc'\nargs = ['--disable-telemetry', \"it's\"]",
        };
        let mut script = script.render();
        if !is_root() {
            // There is nobody else that an ordinary user could become.
            script = script.replace("setsid su ", "setsid /tmp/su ");
            machine.install(
                "/tmp/su",
                "#!/bin/sh\n[ \"$1$3 $5\" = '-s-c tc' ] && exec \"$2\" -c \"$4\"\n",
            );
        }
        machine.install("/usr/local/etc/init.d/vscodeonline", &script);
        let config = "/home/tc/.config/code-server/config.yaml";
        let outcome = service(&mut machine, "vscodeonline start");
        expect(
            &outcome,
            1,
            &[config, "make one with /usr/local/etc/init.d/makevscodeconfig"],
            system.name,
        );
        machine.write(config, "auth: none\n");
        let outcome = service(&mut machine, "vscodeonline start");
        expect(
            &outcome,
            1,
            &["has no line such as `bind-addr: 127.0.0.1:5000`"],
            system.name,
        );
        machine.write(config, "auth: password\nbind-addr: \"0.0.0.0:5000\"\n");
        expect(
            &service(&mut machine, "vscodeonline start"),
            0,
            &["and answers"],
            system.name,
        );
        let log = machine.read("/var/log/vscodeonline.log");
        let line = format!(
            "code-server --config {config} --disable-telemetry it's in /home/tc\nenv HOME=/home/tc\n"
        );
        assert!(log.starts_with(&line), "{}: {log}", system.name);
        let pid = pid(&machine, "vscodeonline");
        let uid = machine
            .run(&format!("awk '/^Uid:/ {{ print $2 }}' /proc/{pid}/status"))
            .stdout;
        assert_eq!(uid.trim(), tc().split(':').next().unwrap(), "{}", system.name);
        expect(
            &service(&mut machine, "vscodeonline stop"),
            0,
            &["stopped"],
            system.name,
        );
    }
}

#[test]
fn tce_installed_makes_what_is_not_shipped() {
    for system in systems() {
        let mut machine = boot(&system);
        let script = Script {
            name: "x",
            template: "tce.installed.sh",
            version: "1",
            with: "lib64 = true",
        };
        machine.install(
            "/usr/local/tce.installed/x",
            &script.render().replace("/sbin/ldconfig", "echo ldconfig"),
        );
        machine.write("/usr/local/etc/x.conf.orig", "shipped\n");
        for _ in 0..2 {
            let outcome = machine.run("/usr/local/tce.installed/x");
            expect(&outcome, 0, &["ldconfig"], system.name);
            assert!(machine.path("/var/lib/state").is_dir());
            assert_eq!(
                std::fs::read_link(machine.path("/lib64")).unwrap().to_str(),
                Some("lib")
            );
            // Who needs it elsewhere takes it from there.
            assert!(!machine.path("/usr/local/etc/x.conf").exists());
        }
    }
}
