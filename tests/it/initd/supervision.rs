//! What happens to a daemon that ends by itself, or has lost its function.

use super::machine::{Machine, systems};
use super::services::{Service, boot, each, expect, pid, service};

/// Waits until a command line succeeds.
fn until(machine: &mut Machine, condition: &str, at: &str) {
    let outcome = machine.run(&format!("until {condition}; do sleep 0.1; done"));
    expect(&outcome, 0, &[], &format!("{at}: {condition}"));
}

/// Waits for the end of this number, and until the service answers again.
fn until_restarted(machine: &mut Machine, name: &str, number: u32, at: &str) {
    until_ended(machine, name, number, at);
    until(machine, &format!("/usr/local/etc/init.d/{name} status"), at);
}

fn until_ended(machine: &mut Machine, name: &str, number: u32, at: &str) {
    let noted = format!("grep -q '^{number} ' /var/run/{name}.restarts");
    until(machine, &noted, at);
}

fn kill(machine: &mut Machine, pid: &str) {
    expect(&machine.run(&format!("kill -9 {pid}")), 0, &[], pid);
}

fn supervisor(machine: &Machine, name: &str) -> String {
    let file = machine.read(&format!("/var/run/{name}.supervisor"));
    file.split(' ').next().unwrap().to_owned()
}

/// What the supervisor has said, without the times.
fn reports(machine: &Machine, name: &str) -> Vec<String> {
    let log = machine.read(&format!("/var/log/{name}.start"));
    let mark = format!(" {name}: ");
    let lines = log.lines().filter(|line| line.starts_with("20"));
    lines
        .filter_map(|line| Some(line.split_once(&mark)?.1.to_owned()))
        .collect()
}

fn behave(machine: &Machine, of: &Service, behaviour: &str) {
    machine.write(&format!("/etc/fake/{}", of.program), behaviour);
}

/// Changes settings of a service.
fn set(machine: &Machine, name: &str, settings: &str) {
    machine.write(&format!("/etc/default/{name}"), format!("{settings}\n"));
}

#[test]
fn a_daemon_that_ends_is_started_again_until_somebody_stops_it() {
    each(|of, machine, at| {
        let name = of.script.name;
        machine.write("/var/log/tcforge.log", "");
        expect(&service(machine, &format!("{name} start")), 0, &[], &at("start"));
        let outcome = service(machine, &format!("{name} status"));
        assert!(!outcome.stdout.contains("restarts"), "{}", at(&outcome.stdout));
        for number in 1..=2 {
            let killed = pid(machine, name);
            kill(machine, &killed);
            until_restarted(machine, name, number, &at("killed"));
            assert_ne!(pid(machine, name), killed, "{}", at("killed"));
            let told = format!("{name}: restarts: {number} (the last on ");
            let outcome = service(machine, &format!("{name} status"));
            let why = "because it was ended by signal 9)";
            expect(&outcome, 0, &["and answers", &told, why], &at("status"));
        }
        let said = ["was ended by signal 9: starts it again in 1 seconds"; 2];
        let said = [said[0].to_owned(), said[1].replace('1', "2")];
        assert_eq!(reports(machine, name), said, "{}", at("the log"));
        let log = machine.read("/var/log/tcforge.log");
        assert!(log.contains(&format!("{name}: {}", said[1])), "{}", at(&log));
        let (daemon, watching) = (pid(machine, name), supervisor(machine, name));
        expect(
            &service(machine, &format!("{name} stop")),
            0,
            &["stopped"],
            &at("stop"),
        );
        until(
            machine,
            &format!("[ ! -e /proc/{watching} ]"),
            &at("the supervisor"),
        );
        let outcome = service(machine, &format!("{name} status"));
        expect(&outcome, 3, &[], &at("stopped"));
        assert_eq!(outcome.stdout, format!("{name}: is not running\n"));
        assert!(!machine.exists(&format!("/proc/{daemon}")), "{}", at("stopped"));
    });
}

#[test]
fn the_pause_before_a_restart_doubles_up_to_a_limit() {
    for (settings, pauses) in [
        ("RESTART_DELAY_LIMIT=2", [1, 2, 2, 2]),
        // What has run for so long begins anew.
        ("RESTART_DELAY_RESET=0", [1, 1, 1, 1]),
    ] {
        each(|of, machine, at| {
            let name = of.script.name;
            set(machine, name, settings);
            expect(&service(machine, &format!("{name} start")), 0, &[], &at("start"));
            behave(machine, of, "dies");
            kill(machine, &pid(machine, name));
            until_ended(machine, name, 4, &at(settings));
            let outcome = service(machine, &format!("{name} status"));
            expect(&outcome, 1, &["is about to be started"], &at("in between"));
            behave(machine, of, "");
            until(
                machine,
                &format!("/usr/local/etc/init.d/{name} status"),
                &at("healed"),
            );
            let reasons = ["was ended by signal 9", "ended with exit status 7"];
            let expected: Vec<_> = pauses
                .iter()
                .enumerate()
                .map(|(n, pause)| format!("{}: starts it again in {pause} seconds", reasons[n.min(1)]))
                .collect();
            assert_eq!(reports(machine, name)[..4], expected, "{}", at(settings));
        });
    }
}

/// Neither waits for the end of the pause.
#[test]
fn a_stop_and_a_start_end_the_pause() {
    each(|of, machine, at| {
        let name = of.script.name;
        set(machine, name, "RESTART_DELAY=100000 RESTART_DELAY_LIMIT=100000");
        expect(&service(machine, &format!("{name} start")), 0, &[], &at("start"));
        kill(machine, &pid(machine, name));
        until_ended(machine, name, 1, &at("killed"));
        let watching = supervisor(machine, name);
        let outcome = service(machine, &format!("{name} start"));
        expect(&outcome, 0, &["and answers"], &at("a start"));
        assert_eq!(supervisor(machine, name), watching, "{}", at("a start"));

        kill(machine, &pid(machine, name));
        until_ended(machine, name, 2, &at("killed again"));
        let outcome = service(machine, &format!("{name} stop"));
        expect(&outcome, 0, &["is not started again"], &at("a stop"));
        until(
            machine,
            &format!("[ ! -e /proc/{watching} ]"),
            &at("the supervisor"),
        );
        expect(
            &service(machine, &format!("{name} status")),
            3,
            &[],
            &at("a stop"),
        );

        // Killed and stopped at once: whoever was first, it stays stopped.
        set(machine, name, "RESTART_DELAY=0");
        for _ in 0..3 {
            expect(&service(machine, &format!("{name} start")), 0, &[], &at("start"));
            let (daemon, watching) = (pid(machine, name), supervisor(machine, name));
            machine.run(&format!("kill -9 {daemon} & /usr/local/etc/init.d/{name} stop"));
            until(machine, &format!("[ ! -e /proc/{watching} ]"), &at("at once"));
            expect(
                &service(machine, &format!("{name} status")),
                3,
                &[],
                &at("at once"),
            );
        }
    });
}

#[test]
fn what_a_daemon_needs_comes_first() {
    each(|of, machine, at| {
        let name = of.script.name;
        let Some(needed) = of.needs.last() else { return };
        expect(&service(machine, &format!("{name} start")), 0, &[], &at("start"));
        let all = format!("{} {}", pid(machine, name), pid(machine, needed));
        kill(machine, &all);
        until_restarted(machine, needed, 1, &at(needed));
        until_restarted(machine, name, 1, &at("itself"));
        let since = |service: &str| -> u64 {
            let text = machine.read(&format!("/var/run/{service}.since"));
            text.trim().parse().unwrap()
        };
        assert!(since(needed) < since(name), "{}", at("the order"));

        // What somebody has stopped is not started behind their back.
        expect(&service(machine, &format!("{needed} stop")), 0, &[], &at("stop"));
        kill(machine, &pid(machine, name));
        let told = format!("grep -q 'needs {needed}, which is stopped' /var/log/{name}.start");
        until(machine, &told, &at("without what it needs"));
        let outcome = service(machine, &format!("{needed} status"));
        expect(&outcome, 3, &[], &at("what was stopped"));
        expect(
            &service(machine, &format!("{needed} start")),
            0,
            &[],
            &at("start"),
        );
        until(
            machine,
            &format!("/usr/local/etc/init.d/{name} status"),
            &at("healed"),
        );
    });
}

#[test]
fn a_supervisor_that_is_killed_is_replaced() {
    each(|of, machine, at| {
        let name = of.script.name;
        expect(&service(machine, &format!("{name} start")), 0, &[], &at("start"));
        kill(machine, &pid(machine, name));
        until_restarted(machine, name, 1, &at("killed"));
        let daemon = pid(machine, name);
        kill(machine, &supervisor(machine, name));
        let outcome = service(machine, &format!("{name} status"));
        expect(&outcome, 0, &["and answers", "has no supervisor"], &at("status"));
        let outcome = service(machine, &format!("{name} start"));
        expect(&outcome, 0, &[&daemon], &at("start"));
        let outcome = service(machine, &format!("{name} status"));
        assert!(!outcome.stdout.contains("supervisor"), "{}", at(&outcome.stdout));
        kill(machine, &daemon);
        until_restarted(machine, name, 2, &at("killed again"));
        let outcome = service(machine, &format!("{name} status"));
        expect(
            &outcome,
            0,
            &["it ended, and nobody saw how"],
            &at("killed again"),
        );
    });
}

#[test]
fn a_daemon_that_does_not_answer_any_more_is_started_again() {
    each(|of, machine, at| {
        let name = of.script.name;
        set(machine, name, "CHECK_INTERVAL=1 CHECK_FAILURES=2");
        expect(&service(machine, &format!("{name} start")), 0, &[], &at("start"));
        let daemon = pid(machine, name);
        let shown = match name {
            "containerd" => "/run/containerd/containerd.sock",
            "buildkit" => "/run/buildkit/buildkitd.sock",
            _ => "/usr/local/bin/answer",
        };
        machine.run(&format!("mv {shown} /tmp/shown"));
        until_ended(machine, name, 1, &at("mute"));
        expect(
            &machine.run(&format!("[ ! -e /proc/{daemon} ]")),
            0,
            &[],
            &at("mute"),
        );
        machine.run(&format!("[ -e {shown} ] || mv /tmp/shown {shown}"));
        until(
            machine,
            &format!("/usr/local/etc/init.d/{name} status"),
            &at("healed"),
        );
        let said = reports(machine, name);
        assert_eq!(said[0], "did not answer any more: ends it", "{}", at("the log"));
    });
}

/// faasd itself lives on without one.
#[test]
fn a_core_service_that_ends_is_started_again() {
    for system in systems() {
        let mut machine = boot(&system);
        expect(&service(&mut machine, "faasd start"), 0, &[], system.name);
        let core = machine.read("/run/containerd/io.containerd.runtime.v2.task/openfaas/gateway/init.pid");
        kill(&mut machine, &core);
        until_restarted(&mut machine, "faasd", 1, system.name);
        let outcome = service(&mut machine, "faasd status");
        let why = "restarts: 1 (the last on ";
        expect(
            &outcome,
            0,
            &[why, "because it has lost its core service gateway)"],
            system.name,
        );
        let outcome = service(&mut machine, "faasd-provider status");
        assert!(!outcome.stdout.contains("restarts"), "{}", outcome.stdout);
    }
}

/// The kernel counts the page faults of the children that a process has had.
#[test]
fn a_supervisor_starts_no_program_while_nothing_happens() {
    for system in systems() {
        let mut machine = boot(&system);
        set(&machine, "faasd", "CHECK_INTERVAL=1000");
        expect(&service(&mut machine, "faasd start"), 0, &[], system.name);
        let process = format!("/proc/{}", supervisor(&machine, "faasd"));
        let outcome = machine.run(&format!(
            "looked() {{ sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' {process}/status; }}
            look() {{
                until=$(($(looked) + $1))
                while [ $(looked) -lt $until ]; do sleep 0.1; done
                sed 's/.*) //' {process}/stat | cut -d ' ' -f 9
            }}
            look 2
            look 5"
        ));
        let faults: Vec<_> = outcome.stdout.lines().collect();
        assert_eq!(faults[0], faults[1], "{}: {outcome:?}", system.name);
    }
}
