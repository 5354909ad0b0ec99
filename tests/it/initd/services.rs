//! The services, with daemons that only pretend: each answers on the socket or
//! the port of the real one, after a while, or behaves badly.

use super::Script;
use super::machine::{Machine, Outcome, System, shims, systems};

/// A service and what stands for its daemon.
struct Service {
    script: Script,
    /// The daemon's program.
    program: &'static str,
    /// Other services that its start brings up.
    needs: &'static [&'static str],
    /// Other services that its stop ends.
    ends: &'static [&'static str],
}

const SERVICES: &[Service] = &[
    Service {
        script: Script { name: "containerd", template: "containerd.sh", version: "1.7.34", with: "" },
        program: "containerd",
        needs: &[],
        ends: &[],
    },
    Service {
        script: Script { name: "buildkit", template: "buildkit.sh", version: "0.8.1", with: "" },
        program: "buildkitd",
        needs: &["containerd"],
        ends: &[],
    },
    Service {
        script: Script { name: "faasd-provider", template: "faasd-provider.sh", version: "0.19.0", with: "" },
        program: "faasd-provider",
        needs: &["containerd"],
        ends: &[],
    },
    Service {
        script: Script { name: "faasd", template: "faasd.sh", version: "0.19.0", with: "" },
        program: "faasd-up",
        needs: &["containerd", "faasd-provider"],
        ends: &["faasd-provider"],
    },
    Service {
        script: Script { name: "vscodeonline", template: "vscodeonline.sh", version: "4.139.1", with: "" },
        program: "code-server",
        needs: &[],
        ends: &[],
    },
];

/// The daemons: `/etc/fake/PROGRAM` says how one behaves. It answers where its
/// name has it answer.
const DAEMON: &str = r#"#!/bin/sh
name=${0##*/}
[ "$name" != faasd ] || name=faasd-$1
echo "$name $* in $(pwd)"
env | sed -n 's/^\(secret_mount_path\|basic_auth\|hosts_dir\|HOME\)=/env &/p'
behaviour=$(cat "/etc/fake/$name" 2>/dev/null)
case $behaviour in
dies)
    echo "no such luck" >&2
    exit 7
    ;;
mute) exec sleep 1000 ;;
deaf) trap '' TERM ;;
esac
sleep 0.3
case $name in
containerd) mkdir -p /run/containerd && ln -f /var/socket /run/containerd/containerd.sock && echo $$ >/run/containerd/pid ;;
buildkitd) mkdir -p /run/buildkit && ln -f /var/socket /run/buildkit/buildkitd.sock && echo $$ >/run/buildkit/pid ;;
faasd-provider) port=8081 ;;
faasd-up) port=8080 ;;
code-server) port=5000 ;;
esac
if [ -n "$port" ]; then
    while :; do nc -l -p $port <<EOF >/dev/null
HTTP/1.0 200 OK
Content-Length: 2

OK
EOF
    done
else
    while :; do sleep 1; done
fi
"#;

/// The clients: succeed while the daemon's process lives. `ctr` also notes what
/// it is asked for.
const CLIENT: &str = r#"#!/bin/sh
case ${0##*/} in
ctr) pid=$(cat /run/containerd/pid) ;;
buildctl) pid=$(cat /run/buildkit/pid) ;;
esac
[ -d "/proc/$pid" ] || exit 1
[ "$4" = version ] || [ "$3" = version ] || echo "${0##*/} $*" >>/var/calls
"#;

fn boot(system: &System) -> Machine {
    let mut machine = Machine::start(system);
    for service in SERVICES {
        let script = service.script.render();
        // Nothing is loaded or mounted for real here; see `containerd`.
        let shims = format!("#!/bin/sh\n{}modprobe() {{ :; }}\nmount() {{ :; }}\n", shims());
        let path = format!("/usr/local/etc/init.d/{}", service.script.name);
        machine.install(&path, &script.replacen("#!/bin/sh\n", &shims, 1));
    }
    for daemon in ["containerd", "buildkitd", "faasd", "code-server"] {
        machine.install(&format!("/usr/local/bin/{daemon}"), DAEMON);
    }
    for client in ["ctr", "buildctl"] {
        machine.install(&format!("/usr/local/bin/{client}"), CLIENT);
    }
    for program in ["runc", "containerd-shim-runc-v2", "iptables"] {
        machine.install(&format!("/usr/local/bin/{program}"), "#!/bin/sh\n");
    }
    machine.install("/opt/cni/bin/bridge", "#!/bin/sh\n");
    machine.write("/usr/local/etc/buildkit/buildkitd.toml.orig", "namespace = \"openfaas-fn\"\n");
    for file in ["docker-compose.yaml", "prometheus.yml", "resolv.conf"] {
        machine.write(&format!("/usr/local/etc/faasd/{file}.orig"), format!("{file}\n"));
    }
    machine.write("/root/.config/code-server/config.yaml", "bind-addr: 127.0.0.1:5000\nauth: password\n");
    assert_eq!(machine.run("true").status, 0);
    machine
}

/// Runs `/usr/local/etc/init.d/LINE`.
fn service(machine: &mut Machine, line: &str) -> Outcome {
    machine.run(&format!("/usr/local/etc/init.d/{line}"))
}

fn expect(outcome: &Outcome, status: i32, needles: &[&str], at: &str) {
    assert_eq!(outcome.status, status, "{at}:\n{}", outcome.text());
    for needle in needles {
        assert!(outcome.text().contains(needle), "{at}: no `{needle}` in\n{}", outcome.text());
    }
}

fn pid(machine: &Machine, name: &str) -> String {
    machine.read(&format!("/var/run/{name}.pid")).trim().to_owned()
}

#[test]
fn a_services_life() {
    for system in systems() {
        for of in SERVICES {
            let name = of.script.name;
            let at = |what: &str| format!("{name} on {}: {what}", system.name);
            let mut machine = boot(&system);
            expect(&service(&mut machine, &format!("{name} status")), 3, &["is not running"], &at("status before"));
            expect(&service(&mut machine, &format!("{name} stop")), 0, &["is not running"], &at("stop before"));

            let outcome = service(&mut machine, &format!("{name} start"));
            expect(&outcome, 0, &["and answers"], &at("start"));
            let first = pid(&machine, name);
            assert_eq!(outcome.stderr, "", "{}", at("start"));
            for needed in of.needs {
                expect(&service(&mut machine, &format!("{needed} status")), 0, &[], &at("what it needs"));
            }
            expect(&service(&mut machine, &format!("{name} status")), 0, &[&first], &at("status"));
            expect(&service(&mut machine, &format!("{name} start")), 0, &[&first], &at("start again"));
            assert_eq!(pid(&machine, name), first, "{}", at("start again"));
            let daemon = machine.run(&format!("tr '\\0' ' ' </proc/{first}/cmdline"));
            assert!(daemon.stdout.contains(of.program.split('-').next().unwrap()), "{}: {daemon:?}", at("pid"));

            expect(&service(&mut machine, &format!("{name} restart")), 0, &["stopped", "and answers"], &at("restart"));
            let second = pid(&machine, name);
            assert_ne!(first, second, "{}", at("restart"));
            assert!(machine.exists(&format!("/var/log/{name}.log.old")), "{}", at("the old log"));

            expect(&service(&mut machine, &format!("{name} stop")), 0, &["stopped"], &at("stop"));
            expect(&machine.run(&format!("test -d /proc/{second}")), 1, &[], &at("the process"));
            expect(&service(&mut machine, &format!("{name} status")), 3, &[], &at("status at the end"));
            for ended in of.ends {
                expect(&service(&mut machine, &format!("{ended} status")), 3, &[], &at("what it ends"));
            }
        }
    }
}
