//! The services, with daemons that only pretend: each answers on the socket or
//! the port of the real one, after a while, or behaves badly.

use super::Script;
use super::machine::{Machine, Outcome, System, shims, systems};

/// A service and what stands for its daemon.
pub(super) struct Service {
    pub(super) script: Script,
    /// The daemon's program.
    pub(super) program: &'static str,
    /// Other services that its start brings up.
    pub(super) needs: &'static [&'static str],
    /// Other services that its stop ends.
    ends: &'static [&'static str],
}

const SERVICES: &[Service] = &[
    Service {
        script: Script {
            name: "containerd",
            template: "containerd.sh",
            version: "1.7.34",
            with: "",
        },
        program: "containerd",
        needs: &[],
        ends: &[],
    },
    Service {
        script: Script {
            name: "buildkit",
            template: "buildkit.sh",
            version: "0.8.1",
            with: "",
        },
        program: "buildkitd",
        needs: &["containerd"],
        ends: &[],
    },
    Service {
        script: Script {
            name: "faasd-provider",
            template: "faasd-provider.sh",
            version: "0.19.0",
            with: "",
        },
        program: "faasd-provider",
        needs: &["containerd"],
        ends: &[],
    },
    Service {
        script: Script {
            name: "faasd",
            template: "faasd.sh",
            version: "0.19.0",
            with: "",
        },
        program: "faasd-up",
        needs: &["containerd", "faasd-provider"],
        ends: &["faasd-provider"],
    },
    Service {
        script: Script {
            name: "vscodeonline",
            template: "vscodeonline.sh",
            version: "4.139.1",
            with: "",
        },
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
dies-once)
    : >"/etc/fake/$name"
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
faasd-up)
    port=8080 && echo "127.0.0.1 gateway" >hosts
    # A container, as its shim notes it.
    core=/run/containerd/io.containerd.runtime.v2.task/openfaas/gateway
    sleep 1000 &
    mkdir -p "$core" && printf %s $! >"$core/init.pid"
    ;;
code-server) port=5000 ;;
esac
if [ -n "$port" ]; then
    # Tiny Core's busybox and Debian's have different names for "on and on".
    case $(nc --help 2>&1) in *-lk*) on=-lk ;; *) on=-ll ;; esac
    # The arguments of answer only tell what this is. nc minds signals.
    set -- nc $on -p "$port" -e /usr/local/bin/answer "$0" "$@"
    [ "$behaviour" = deaf ] || exec "$@"
    "$@"
else
    while :; do sleep 1; done
fi
"#;

/// What the daemons with a port say to each who connects. It reads the request
/// first: a connection closed with unread bytes is reset.
const ANSWER: &str = r#"#!/bin/sh
while read -r line && [ "${#line}" -gt 1 ]; do :; done
printf 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK'
"#;

/// The clients: succeed while the daemon's process lives. What they are told to
/// do they note; `/var/list.NAMESPACE.KIND` is what is there.
const CLIENT: &str = r#"#!/bin/sh
case ${0##*/} in
ctr) pid=$(cat /run/containerd/pid) ;;
buildctl) pid=$(cat /run/buildkit/pid) ;;
esac
[ -d "/proc/$pid" ] || exit 1
case "$*" in
*version | *workers) ;;
*" ls"*) cat "/var/list.$2.$3" 2>/dev/null ;;
*import*damaged*)
    echo "${0##*/} $*" >>/var/calls
    exit 1
    ;;
*)
    echo "${0##*/} $*" >>/var/calls
    [ "$4" != import ] || cat "$5.names" >>"/var/list.$2.images"
    ;;
esac
"#;

/// Keeps its rules in a file.
const IPTABLES: &str = r#"#!/bin/sh
action=$1
shift
case $action in
-C) grep -qxF -e "$*" /var/rules ;;
-I) echo "$*" >>/var/rules ;;
-D) grep -vxF -e "$*" /var/rules >/var/rules.new; mv /var/rules.new /var/rules ;;
esac
"#;

pub(super) fn boot(system: &System) -> Machine {
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
    machine.install("/usr/local/bin/answer", ANSWER);
    machine.install("/usr/local/bin/iptables", IPTABLES);
    for program in ["runc", "containerd-shim-runc-v2"] {
        machine.install(&format!("/usr/local/bin/{program}"), "#!/bin/sh\n");
    }
    machine.install("/opt/cni/bin/bridge", "#!/bin/sh\n");
    machine.write(
        "/usr/local/etc/buildkit/buildkitd.toml.orig",
        "namespace = \"openfaas-fn\"\n",
    );
    for file in ["docker-compose.yaml", "prometheus.yml", "resolv.conf"] {
        machine.write(&format!("/usr/local/etc/faasd/{file}.orig"), format!("{file}\n"));
    }
    machine.write(
        "/root/.config/code-server/config.yaml",
        "bind-addr: 127.0.0.1:5000\nauth: password\n",
    );
    assert_eq!(machine.run("true").status, 0);
    machine
}

/// Runs `/usr/local/etc/init.d/LINE`.
pub(super) fn service(machine: &mut Machine, line: &str) -> Outcome {
    machine.run(&format!("/usr/local/etc/init.d/{line}"))
}

pub(super) fn expect(outcome: &Outcome, status: i32, needles: &[&str], at: &str) {
    assert_eq!(outcome.status, status, "{at}:\n{}", outcome.text());
    for needle in needles {
        assert!(
            outcome.text().contains(needle),
            "{at}: no `{needle}` in\n{}",
            outcome.text()
        );
    }
}

pub(super) fn pid(machine: &Machine, name: &str) -> String {
    machine.read(&format!("/var/run/{name}.pid")).trim().to_owned()
}

#[test]
fn a_services_life() {
    for system in systems() {
        for of in SERVICES {
            let name = of.script.name;
            let at = |what: &str| format!("{name} on {}: {what}", system.name);
            let mut machine = boot(&system);
            expect(
                &service(&mut machine, &format!("{name} status")),
                3,
                &["is not running"],
                &at("status before"),
            );
            expect(
                &service(&mut machine, &format!("{name} stop")),
                0,
                &["is not running"],
                &at("stop before"),
            );

            let outcome = service(&mut machine, &format!("{name} start"));
            expect(&outcome, 0, &["and answers"], &at("start"));
            let first = pid(&machine, name);
            assert_eq!(outcome.stderr, "", "{}", at("start"));
            for needed in of.needs {
                expect(
                    &service(&mut machine, &format!("{needed} status")),
                    0,
                    &[],
                    &at("what it needs"),
                );
            }
            expect(
                &service(&mut machine, &format!("{name} status")),
                0,
                &[&first],
                &at("status"),
            );
            expect(
                &service(&mut machine, &format!("{name} start")),
                0,
                &[&first],
                &at("start again"),
            );
            assert_eq!(pid(&machine, name), first, "{}", at("start again"));
            let daemon = machine.run(&format!("tr '\\0' ' ' </proc/{first}/cmdline"));
            assert!(
                daemon.stdout.contains(of.program.split('-').next().unwrap()),
                "{}: {daemon:?}",
                at("pid")
            );

            expect(
                &service(&mut machine, &format!("{name} restart")),
                0,
                &["stopped", "and answers"],
                &at("restart"),
            );
            let second = pid(&machine, name);
            assert_ne!(first, second, "{}", at("restart"));
            assert!(
                machine.exists(&format!("/var/log/{name}.log.old")),
                "{}",
                at("the old log")
            );

            expect(
                &service(&mut machine, &format!("{name} stop")),
                0,
                &["stopped"],
                &at("stop"),
            );
            expect(
                &machine.run(&format!("test -d /proc/{second}")),
                1,
                &[],
                &at("the process"),
            );
            expect(
                &service(&mut machine, &format!("{name} status")),
                3,
                &[],
                &at("status at the end"),
            );
            for ended in of.ends {
                expect(
                    &service(&mut machine, &format!("{ended} status")),
                    3,
                    &[],
                    &at("what it ends"),
                );
            }
        }
    }
}

/// Each service on each system, in a fresh machine.
pub(super) fn each(test: impl Fn(&Service, &mut Machine, &dyn Fn(&str) -> String)) {
    for system in systems() {
        for of in SERVICES {
            let mut machine = boot(&system);
            let at = |what: &str| format!("{} on {}: {what}", of.script.name, system.name);
            test(of, &mut machine, &at);
        }
    }
}

#[test]
fn a_daemon_that_misbehaves_is_told_of() {
    each(|of, machine, at| {
        let name = of.script.name;
        let fake = format!("/etc/fake/{}", of.program);
        machine.write(&fake, "dies");
        machine.write(&format!("/etc/default/{name}"), "RESTART_DELAY=0\n");
        let outcome = service(machine, &format!("{name} start"));
        expect(
            &outcome,
            1,
            &[
                "ended with exit status 7: starts it again in 0 seconds",
                "ended before it answered",
                "no such luck",
            ],
            &at("one that dies"),
        );
        expect(
            &service(machine, &format!("{name} status")),
            3,
            &[],
            &at("status of a dead one"),
        );

        machine.write(&fake, "mute");
        machine.write(&format!("/etc/default/{name}"), "TIMEOUT=1 STOP_TIMEOUT=1\n");
        let outcome = service(machine, &format!("{name} start"));
        let told = ["does not answer after 1 seconds", "the end of /var/log"];
        expect(&outcome, 1, &told, &at("one that never answers"));
        expect(
            &service(machine, &format!("{name} status")),
            4,
            &["does not answer"],
            &at("status of a mute one"),
        );
        expect(
            &service(machine, &format!("{name} stop")),
            0,
            &["stopped"],
            &at("stop of a mute one"),
        );

        machine.write(&fake, "deaf");
        machine.write(&format!("/etc/default/{name}"), "STOP_TIMEOUT=1\n");
        expect(
            &service(machine, &format!("{name} start")),
            0,
            &[],
            &at("one that ignores the signal"),
        );
        let pid = pid(machine, name);
        let outcome = service(machine, &format!("{name} stop"));
        expect(
            &outcome,
            0,
            &["did not end within 1 seconds", "stopped"],
            &at("stop of a deaf one"),
        );
        expect(
            &machine.run(&format!("test -d /proc/{pid}")),
            1,
            &[],
            &at("the deaf process"),
        );
    });
}

/// The editor ends by itself if it takes long to load, and does not the next time.
#[test]
fn one_that_ends_is_started_again() {
    each(|of, machine, at| {
        let name = of.script.name;
        machine.write(&format!("/etc/fake/{}", of.program), "dies-once");
        let outcome = service(machine, &format!("{name} start"));
        let told = ["ended with exit status 7: starts it again", "and answers"];
        expect(&outcome, 0, &told, &at("the second time"));
        expect(
            &service(machine, &format!("{name} status")),
            0,
            &[
                "restarts: 1 (the last on ",
                "because it ended with exit status 7)",
            ],
            &at("status"),
        );
    });
}

#[test]
fn only_our_own_process_is_ours() {
    each(|of, machine, at| {
        let name = of.script.name;
        let (pid_file, since) = (format!("/var/run/{name}.pid"), format!("/var/run/{name}.since"));
        machine.run(&format!(
            "sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >{pid_file}; echo 1 >{since}"
        ));
        let foreign = pid(machine, name);
        expect(
            &service(machine, &format!("{name} status")),
            1,
            &["left"],
            &at("status with a foreign pid"),
        );
        let outcome = service(machine, &format!("{name} start"));
        expect(
            &outcome,
            0,
            &["removing the stale", "and answers"],
            &at("start with a foreign pid"),
        );
        expect(
            &service(machine, &format!("{name} stop")),
            0,
            &["stopped"],
            &at("stop"),
        );
        expect(
            &machine.run(&format!("kill -0 {foreign}")),
            0,
            &[],
            &at("the foreign process"),
        );

        for stale in ["99999", "", "1; touch /var/broken", "-1"] {
            machine.write(&pid_file, format!("{stale}\n"));
            expect(
                &service(machine, &format!("{name} stop")),
                0,
                &["is not running"],
                &at(stale),
            );
        }
        assert!(!machine.exists("/var/broken"), "{}", at("a pid file was run"));

        expect(&service(machine, &format!("{name} start")), 0, &[], &at("start"));
        let killed = pid(machine, name);
        // With its supervisor. The signal may take a moment, and then somebody may still
        // have to collect it.
        machine.run(&format!(
            "kill -9 $(cut -d ' ' -f 1 /var/run/{name}.supervisor) {killed}
            while grep -q '^[^)]*) [^XZ]' /proc/{killed}/stat 2>/dev/null; do sleep 0.1; done"
        ));
        expect(
            &service(machine, &format!("{name} status")),
            1,
            &["left"],
            &at("status when killed"),
        );
        expect(
            &service(machine, &format!("{name} start")),
            0,
            &["and answers"],
            &at("start when killed"),
        );
        assert_ne!(pid(machine, name), killed, "{}", at("start when killed"));
    });
}

#[test]
fn starts_at_once_make_one_daemon() {
    each(|of, machine, at| {
        let name = of.script.name;
        let start = format!("/usr/local/etc/init.d/{name} start");
        let outcome = machine.run(&format!(
            "{start} & first=$!; {start}; second=$?; wait $first && exit $second"
        ));
        expect(&outcome, 0, &["and answers"], &at("two starts"));
        // Arguments end in NULs, which not every busybox's grep can read past.
        let all = "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$file; echo; done 2>/dev/null";
        let outcome = machine.run(&format!("{all} | grep -c '[/]{name} supervise'"));
        assert_eq!(outcome.stdout.trim(), "1", "{}", at("supervisors"));
        let children =
            format!("grep -lx \"PPid:\t$(cut -d ' ' -f 1 /var/run/{name}.supervisor)\" /proc/[0-9]*/status");
        let daemon = of.program.replace("faasd-", "faasd ");
        let outcome = machine.run(&format!(
            "{children} | sed 's/status$/cmdline/' | while read -r file; do tr '\\0' ' ' <$file; echo; done | \
             grep -c '/usr/local/bin/{daemon}'"
        ));
        assert_eq!(outcome.stdout.trim(), "1", "{}", at("daemons"));
        // A pipe from a start ends with the start.
        let outcome = machine.run(&format!("/usr/local/etc/init.d/{name} restart | cat"));
        expect(&outcome, 0, &["and answers"], &at("a pipe"));
    });
}

#[test]
fn a_start_need_not_be_waited_for() {
    each(|of, machine, at| {
        let name = of.script.name;
        machine.write(&format!("/etc/fake/{}", of.program), "mute");
        machine.write(&format!("/etc/default/{name}"), "TIMEOUT=100000\n");
        expect(
            &service(machine, &format!("{name} start --no-wait")),
            0,
            &["starting"],
            &at("mute"),
        );
        let until = |status: u32| {
            format!("while /usr/local/etc/init.d/{name} status; [ $? -ne {status} ]; do sleep 0.1; done")
        };
        expect(&machine.run(&until(4)), 0, &[], &at("it runs"));
        expect(
            &service(machine, &format!("{name} stop")),
            0,
            &["stopped"],
            &at("stop"),
        );
        machine.run(&format!(
            "while ! grep -q 'was stopped before it answered' /var/log/{name}.start; do sleep 0.1; done"
        ));
        expect(
            &service(machine, &format!("{name} status")),
            3,
            &[],
            &at("a stop while it starts"),
        );

        machine.write(&format!("/etc/fake/{}", of.program), "");
        let outcome = machine.run(&format!("TCFORGE_NOWAIT=1 /usr/local/etc/init.d/{name} start"));
        expect(&outcome, 0, &["starting"], &at("from the environment"));
        expect(&machine.run(&until(0)), 0, &[], &at("it answers"));
    });
}

#[test]
fn what_is_missing_is_named() {
    each(|of, machine, at| {
        let name = of.script.name;
        let program = of
            .program
            .split("-up")
            .next()
            .unwrap()
            .split("-provider")
            .next()
            .unwrap();
        let program = format!("/usr/local/bin/{program}");
        machine.run(&format!("mv {program} /tmp/program"));
        let outcome = service(machine, &format!("{name} start"));
        let message = format!("the program {} is missing", program.rsplit('/').next().unwrap());
        expect(&outcome, 1, &[&message], &at("without the program"));
        machine.run(&format!("mv /tmp/program {program}"));

        for needed in of.needs {
            let script = format!("/usr/local/etc/init.d/{needed}");
            machine.run(&format!("mv {script} /tmp/script"));
            let outcome = service(machine, &format!("{name} start"));
            expect(
                &outcome,
                1,
                &[&format!("tce-load -i {needed}")],
                &at("without what it needs"),
            );
            machine.run(&format!("mv /tmp/script {script}"));
            machine.write(&format!("/etc/fake/{needed}"), "dies");
            machine.write(&format!("/etc/default/{needed}"), "RESTART_DELAY=0\n");
            let outcome = service(machine, &format!("{name} start"));
            let message = format!("needs {needed}, which did not start");
            expect(
                &outcome,
                1,
                &[&message, "no such luck"],
                &at("when what it needs dies"),
            );
            machine.write(&format!("/etc/fake/{needed}"), "");
        }
    });
}

#[test]
fn what_others_started_is_left_alone() {
    each(|of, machine, at| {
        let name = of.script.name;
        // A socket that no process holds is taken for a dead one, and shell
        // scripts cannot hold one.
        if ["containerd", "buildkit"].contains(&name) {
            return;
        }
        expect(&service(machine, &format!("{name} start")), 0, &[], &at("start"));
        let other = pid(machine, name);
        machine.run(&format!("rm /var/run/{name}.*"));
        let outcome = service(machine, &format!("{name} start"));
        expect(
            &outcome,
            1,
            &["that this script did not start answers already"],
            &at("start beside another"),
        );
        expect(
            &machine.run(&format!("kill -0 {other}")),
            0,
            &[],
            &at("the other"),
        );
    });
}

#[test]
fn usage_and_rights() {
    each(|of, machine, at| {
        for arguments in [
            "",
            "begin",
            "start now",
            "stop --no-wait",
            "start --no-wait twice",
            "--help",
        ] {
            let outcome = service(machine, &format!("{} {arguments}", of.script.name));
            expect(
                &outcome,
                1,
                &["usage: ", "start [--no-wait] | stop | restart | status"],
                &at(arguments),
            );
        }
    });
    for system in systems() {
        for of in SERVICES {
            for action in ["start", "stop", "restart", "status"] {
                let outcome = system.run_as_nobody(&of.script.render(), &[action]);
                expect(&outcome, 1, &["must be root: sudo "], of.script.name);
            }
        }
    }
}

#[test]
fn a_log_does_not_fill_the_memory() {
    for system in systems() {
        let mut machine = boot(&system);
        machine.write("/etc/default/containerd", "LOG_LIMIT=1000 LOG_INTERVAL=1\n");
        expect(&service(&mut machine, "containerd start"), 0, &[], system.name);
        let chatter = machine.run(
            "pid=$(cat /var/run/containerd.pid)
            i=0
            while [ $i -lt 500 ]; do echo chatter $i; i=$((i + 1)); done >>/proc/$pid/fd/1
            while [ $(wc -c </var/log/containerd.log) -gt 1000 ]; do sleep 0.1; done",
        );
        expect(&chatter, 0, &[], system.name);
        let old = machine.read("/var/log/containerd.log.old");
        assert!(
            old.len() <= 1000 && old.ends_with("chatter 499\n"),
            "{}: {old}",
            system.name
        );
        for log in ["/var/log/containerd.log", "/var/log/containerd.log.old"] {
            assert_eq!(machine.mode(log), 0o640, "{}", system.name);
        }
    }
}
