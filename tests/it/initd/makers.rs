//! makedockerconfig and makevscodeconfig: what is typed, or given by options or
//! the environment, is what the programs read, and nobody else sees it.

use super::Script;
use super::machine::{Machine, Outcome, System, shims, systems, tc};
use super::services::expect;

const DOCKER: Script = Script {
    name: "makedockerconfig",
    template: "makedockerconfig.sh",
    version: "0.8.1",
    with: "",
};
const ARGON2: Script = Script {
    name: "makevscodeconfig",
    template: "makevscodeconfig.sh",
    version: "4.139.1",
    with: "",
};
const SHA256: Script = Script {
    name: "makevscodeconfig",
    template: "makevscodeconfig.sh",
    version: "3.8.0",
    with: "",
};
const PLAIN: Script = Script {
    name: "makevscodeconfig",
    template: "makevscodeconfig.sh",
    version: "3.8.0",
    with: "hash = 'none'",
};

/// Secrets that a careless script would mangle or run.
const SECRETS: &[&str] = &[
    "dckr_pat_abcDEF-123",
    r#"it's a "quoted" one"#,
    "$HOME ${PATH} $(touch /var/run-it) `touch /var/run-it`",
    r"back\slash \n \\ \x41 %s %d \c",
    "a=b:c;d&e|f<g>h*i?j[k]l#m!n~o,p@q^r",
    "-n",
    "-e x",
    "é€漢字😀\u{2028}",
    "with\ttab",
    "two  blanks",
    "{{ name }} {% x %}",
    "'",
    "\"",
    "\\",
];

/// Stands for code-server's node: hands back the bytes that it was given to
/// hash, in hexadecimal digits.
const NODE: &str = "#!/bin/sh\necho \"node $*\" >>/var/node
digits=$(od -An -v -tx1 | tr -d ' \\n')
case $* in *argon2*) echo \"\\$argon2id\\$v=19\\$$digits\" ;; *) echo $digits ;; esac\n";

fn boot(system: &System, script: &Script) -> Machine {
    let mut machine = Machine::start(system);
    let shims = format!("#!/bin/sh\n{}", shims());
    let path = format!("/usr/local/etc/init.d/{}", script.name);
    machine.install(&path, &script.render().replacen("#!/bin/sh\n", &shims, 1));
    // From coreutils, where busybox has none.
    if machine.run("command -v base64").status != 0 {
        machine.install(
            "/usr/local/bin/base64",
            "#!/bin/sh\nod -An -v -tx1 | awk '
            { for (i = 1; i <= NF; i++) bits = bits sprintf(\"%s\", four(substr($i, 1, 1)) four(substr($i, 2, 1))) }
            function four(h,  v, r) { v = index(\"0123456789abcdef\", h) - 1; r = int(v / 8) int(v / 4) % 2 int(v / 2) % 2 v % 2; return r }
            END {
                set = \"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\"
                for (p = 1; p <= length(bits); p += 6) {
                    six = substr(substr(bits, p, 6) \"00000\", 1, 6); v = 0
                    for (k = 1; k <= 6; k++) v = v * 2 + substr(six, k, 1)
                    out = out substr(set, v + 1, 1)
                }
                while (length(out) % 4) out = out \"=\"
                print out
            }'\n",
        );
    }
    machine.install("/usr/local/lib/code-server/bin/code-server", "#!/bin/sh\n");
    machine.install("/usr/local/lib/code-server/lib/node", NODE);
    machine.run("ln -s ../lib/code-server/bin/code-server /usr/local/bin/code-server");
    machine
}

/// Nothing of the run shows the secret: not its output, not what other programs
/// got as arguments.
fn assert_unseen(machine: &mut Machine, outcome: &Outcome, secret: &str, at: &str) {
    // Short ones are in everything.
    if secret.len() > 4 {
        let seen = outcome.text() + &machine.run("cat /var/node 2>/dev/null").stdout;
        assert!(!seen.contains(secret), "{at}: the secret can be seen:\n{seen}");
    }
    assert!(!machine.exists("/var/run-it"), "{at}: the secret was run");
}

fn decode(text: &str) -> Vec<u8> {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for digit in text.trim_end_matches('=').chars() {
        bits = bits << 6 | u32::try_from(digits.find(digit).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The login in a config.json, for Docker Hub unless said otherwise.
fn login(machine: &Machine, path: &str, registry: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(&machine.read(path)).unwrap();
    let auth = json["auths"][registry]["auth"].as_str().unwrap();
    String::from_utf8(decode(auth)).unwrap()
}

const HUB: &str = "https://index.docker.io/v1/";
const LOGINS: [&str; 2] = ["/root/.docker/config.json", "/var/lib/faasd/.docker/config.json"];
const CONFIGS: [(&str, &str); 2] = [
    ("/root/.config/code-server/config.yaml", "0:0"),
    ("/home/tc/.config/code-server/config.yaml", "tc"),
];

#[test]
fn a_docker_login_is_what_was_given() {
    for system in systems() {
        let mut machine = boot(&system, &DOCKER);
        for (number, secret) in SECRETS.iter().enumerate() {
            let at = format!("{} on {}", secret, system.name);
            machine.write("/secret", format!("{secret}\n"));
            // By file, through a pipe, from the environment, and as an answer.
            let command = match number % 4 {
                0 => "makedockerconfig --username me --token-file /secret",
                1 => "makedockerconfig --username=me --token-file=- </secret",
                2 => "makedockerconfig",
                _ => "makedockerconfig </answers",
            };
            machine.write("/answers", format!("me\n{secret}\n"));
            let environment = if number % 4 == 2 {
                "export DOCKERHUB_USERNAME=me; DOCKERHUB_TOKEN=$(cat /secret); export DOCKERHUB_TOKEN;"
            } else {
                ""
            };
            let outcome = machine.run(&format!(
                "{environment} HOME=/root /usr/local/etc/init.d/{command}"
            ));
            expect(&outcome, 0, &["wrote /root/.docker/config.json"], &at);
            for file in LOGINS {
                assert_eq!(login(&machine, file, HUB), format!("me:{secret}"), "{at}");
                assert_eq!(machine.mode(file), 0o600, "{at}");
            }
            assert_unseen(&mut machine, &outcome, secret, &at);
        }
    }
}

#[test]
fn a_docker_login_goes_where_programs_read_it() {
    for system in systems() {
        let mut machine = boot(&system, &DOCKER);
        let make = "/usr/local/etc/init.d/makedockerconfig --username me --token-file /secret";
        machine.write("/secret", "first");
        expect(
            &machine.run(&format!("SUDO_USER=tc HOME=/home/tc {make}")),
            0,
            &[],
            system.name,
        );
        let of_caller = "/home/tc/.docker/config.json";
        for file in LOGINS.into_iter().chain([of_caller]) {
            assert_eq!(login(&machine, file, HUB), "me:first", "{}", system.name);
        }
        assert_eq!(machine.owner(of_caller), tc(), "{}", system.name);
        assert_eq!(machine.owner("/home/tc/.docker"), tc(), "{}", system.name);
        assert_eq!(machine.mode("/home/tc/.docker"), 0o700, "{}", system.name);
        assert_eq!(machine.mode("/var/lib/faasd"), 0o755, "{}", system.name);

        // A second one, for another registry: the first is kept aside.
        machine.write("/secret", "second\n");
        machine.run("chmod 644 /root/.docker/config.json");
        let outcome = machine.run(&format!("HOME=/root {make} --registry ghcr.io"));
        expect(
            &outcome,
            0,
            &["kept the old /root/.docker/config.json as /root/.docker/config.json.bak"],
            system.name,
        );
        assert_eq!(
            login(&machine, LOGINS[0], "ghcr.io"),
            "me:second",
            "{}",
            system.name
        );
        assert_eq!(
            login(&machine, "/root/.docker/config.json.bak", HUB),
            "me:first",
            "{}",
            system.name
        );
        for file in [LOGINS[0], "/root/.docker/config.json.bak"] {
            assert_eq!(machine.mode(file), 0o600, "{}", system.name);
        }
        let left = machine.run("ls -A /root/.docker /var/lib/faasd/.docker").stdout;
        let files: Vec<_> = left.lines().filter(|line| line.starts_with("config")).collect();
        assert_eq!(
            files,
            ["config.json", "config.json.bak", "config.json", "config.json.bak"],
            "{}",
            system.name
        );
    }
}

#[test]
fn a_login_that_cannot_be_encoded_is_not_written() {
    for system in systems() {
        let mut machine = boot(&system, &DOCKER);
        let make = "/usr/local/etc/init.d/makedockerconfig";
        // A busybox calls its own base64 whatever else there is.
        let failing = "#!/bin/sh\nbase64() { return 1; }\n";
        let script = machine.read(make).replacen("#!/bin/sh\n", failing, 1);
        machine.install(make, &script);
        let outcome = machine.run(&format!("DOCKERHUB_TOKEN=token HOME=/root {make} --username me"));
        expect(&outcome, 1, &["base64 gives nothing"], system.name);
        assert!(LOGINS.iter().all(|file| !machine.exists(file)), "{}", system.name);
    }
}

#[test]
fn a_wrong_answer_is_refused_and_changes_nothing() {
    let docker = "/usr/local/etc/init.d/makedockerconfig";
    let vscode = "/usr/local/etc/init.d/makevscodeconfig";
    let cases = [
        (
            &DOCKER,
            format!("printf 'a\\nb' >/s; {docker} --username me --token-file /s"),
            "has a line break in it",
        ),
        (
            &DOCKER,
            format!("printf 'a\\r\\n' >/s; {docker} --username me --token-file /s"),
            "has a line break in it",
        ),
        (
            &DOCKER,
            format!("{docker} --username me --token secret"),
            "use --token-file or DOCKERHUB_TOKEN",
        ),
        (
            &DOCKER,
            format!("{docker} --username me --token=secret"),
            "use --token-file or DOCKERHUB_TOKEN",
        ),
        (&DOCKER, format!("{docker} --username a:b"), "cannot have a colon"),
        (
            &DOCKER,
            format!("DOCKERHUB_USERNAME='a\nb' {docker}"),
            "has a line break in it",
        ),
        (&DOCKER, docker.to_owned(), "no username given"),
        (&DOCKER, format!("{docker} --username me"), "no token given"),
        (
            &DOCKER,
            format!("{docker} --username"),
            "--username wants a value",
        ),
        (
            &DOCKER,
            format!("{docker} --username me --token-file /none"),
            "cannot read /none",
        ),
        (
            &DOCKER,
            format!("{docker} --registry 'a\"b'"),
            "this is no registry's address",
        ),
        (&DOCKER, format!("{docker} bogus"), "usage: "),
        (
            &ARGON2,
            format!("printf 'a\\nb\\n' >/s; {vscode} --token-file /s"),
            "has a line break in it",
        ),
        (
            &ARGON2,
            format!("VSCODE_TOKEN='  ' {vscode}"),
            "nothing in it but blanks",
        ),
        (
            &ARGON2,
            format!("{vscode} --password=secret"),
            "use --token-file or VSCODE_TOKEN",
        ),
        (&ARGON2, format!("{vscode} bogus"), "usage: "),
        (
            &PLAIN,
            format!("VSCODE_TOKEN=$(printf 'a\\001b') {vscode}"),
            "control characters",
        ),
        (
            &PLAIN,
            format!("VSCODE_TOKEN=$(printf 'a\\302\\205b') {vscode}"),
            "control characters",
        ),
    ];
    for system in systems() {
        for (script, command, message) in &cases {
            let mut machine = boot(&system, script);
            machine.write(CONFIGS[0].0, "before");
            let outcome = machine.run(command);
            expect(&outcome, 1, &[message], &format!("{command} on {}", system.name));
            assert!(
                !machine.exists(LOGINS[0]) && !machine.exists(LOGINS[1]),
                "{command}"
            );
            assert_eq!(machine.read(CONFIGS[0].0), "before", "{command}");
            assert!(!outcome.text().contains("secret"), "{command}");
        }
        for script in [&DOCKER, &ARGON2] {
            expect(
                &system.run_as_nobody(&script.render(), &[]),
                1,
                &["must be root: sudo "],
                system.name,
            );
            expect(
                &system.run_as_nobody(&script.render(), &["--help"]),
                0,
                &["usage: "],
                system.name,
            );
        }
    }
}

/// What code-server makes of its configuration: lines of a key and a value, which
/// is a word, a text in single quotes, or a JSON string (those are YAML, too).
fn yaml(machine: &Machine, path: &str) -> serde_json::Value {
    let text = machine.read(path);
    let pairs = text.lines().map(|line| {
        let (key, value) = line.split_once(": ").unwrap();
        let value = match value.as_bytes() {
            b"false" => false.into(),
            [b'"', ..] => serde_json::from_str(value).unwrap_or_else(|error| panic!("{line}: {error}")),
            [b'\'', quoted @ .., b'\''] => {
                assert!(!quoted.contains(&b'\''), "{line}");
                std::str::from_utf8(quoted).unwrap().into()
            }
            word => {
                assert!(!word.iter().any(|byte| b" #'\"\\".contains(byte)), "{line}");
                value.into()
            }
        };
        (key.to_owned(), value)
    });
    serde_json::Value::Object(pairs.collect())
}

#[test]
fn the_editors_password_is_what_was_given() {
    for system in systems() {
        for script in [&ARGON2, &SHA256, &PLAIN] {
            let mut machine = boot(&system, script);
            for secret in SECRETS {
                let at = format!(
                    "{secret} for {} {:?} on {}",
                    script.version, script.with, system.name
                );
                machine.write("/secret", format!("{secret}\n"));
                let outcome = machine.run("VSCODE_TOKEN=$(cat /secret); export VSCODE_TOKEN; /usr/local/etc/init.d/makevscodeconfig");
                expect(&outcome, 0, &[], &at);
                let (key, value) = match (script.version, script.with) {
                    ("4.139.1", "") => ("hashed-password", format!("$argon2id$v=19${}", hex(secret))),
                    ("3.8.0", "") => ("hashed-password", hex(secret)),
                    _ => ("password", (*secret).to_owned()),
                };
                let expected = serde_json::json!({
                    "bind-addr": "127.0.0.1:5000", "auth": "password", key: value, "cert": false,
                });
                for (file, owner) in CONFIGS {
                    assert_eq!(yaml(&machine, file), expected, "{at}");
                    assert_eq!(machine.mode(file), 0o600, "{at}");
                    assert_eq!(
                        machine.owner(file),
                        if owner == "tc" { tc() } else { owner },
                        "{at}"
                    );
                }
                assert_unseen(&mut machine, &outcome, secret, &at);
            }
        }
    }
}

const MAKE: &str = "/usr/local/etc/init.d/makevscodeconfig";
/// Where a password that was made is kept.
const KEPT: &str = "/root/.config/code-server/password";

/// Makes node, or code-server, fail, and tells what is said of it.
const NO_HASH: [(&Script, &str, &str); 7] = [
    (&ARGON2, "echo why >&2; exit 1", "why\n"),
    (&ARGON2, "echo nonsense", ""),
    (&ARGON2, "echo '$argon2id'; echo nonsense", ""),
    (&ARGON2, "echo '$argon2id'; exit 1", ""),
    (&ARGON2, ":", ""),
    (&SHA256, "echo why >&2; exit 1", "why\n"),
    (&SHA256, "echo nonsense", ""),
];

#[test]
fn a_password_that_cannot_be_hashed_is_not_kept() {
    for system in systems() {
        for (script, node, said) in NO_HASH {
            let mut machine = boot(&system, script);
            machine.install(
                "/usr/local/lib/code-server/lib/node",
                &format!("#!/bin/sh\n{node}\n"),
            );
            let why = format!(
                "{said}makevscodeconfig: code-server's node cannot hash the password, so nothing was written; \
                 --plain keeps it as plain text\n"
            );
            let commands = [format!("{MAKE} --generate"), format!("VSCODE_TOKEN=given {MAKE}")];
            for command in &commands {
                let outcome = machine.run(command);
                let at = format!("{node}: {command} on {}", system.name);
                assert_eq!(
                    (outcome.status, outcome.stdout, outcome.stderr),
                    (1, String::new(), why.clone()),
                    "{at}"
                );
                assert!(CONFIGS.iter().all(|(file, _)| !machine.exists(file)), "{at}");
                assert!(!machine.exists(KEPT), "{at}");
            }
            // What was there before stays as it was.
            machine.write(KEPT, "earlier");
            machine.write(CONFIGS[0].0, "before");
            for command in &commands {
                assert_eq!(machine.run(command).status, 1, "{command}");
                let left = (machine.read(KEPT), machine.read(CONFIGS[0].0));
                assert_eq!(left, ("earlier".to_owned(), "before".to_owned()), "{command}");
            }
        }
    }
}

#[test]
fn without_code_server_it_is_told_what_is_missing() {
    for system in systems() {
        let mut machine = boot(&system, &ARGON2);
        machine.run("rm /usr/local/bin/code-server");
        let outcome = machine.run(&format!("{MAKE} --generate"));
        expect(&outcome, 1, &["there is no program code-server"], system.name);
        assert!(!machine.exists(KEPT), "{}", system.name);
    }
}

#[test]
fn a_password_is_plain_on_purpose_only() {
    for system in systems() {
        for (script, node, _) in NO_HASH {
            let mut machine = boot(&system, script);
            machine.install(
                "/usr/local/lib/code-server/lib/node",
                &format!("#!/bin/sh\n{node}\n"),
            );
            let outcome = machine.run(&format!("VSCODE_TOKEN=' a\"b ' {MAKE} --plain"));
            expect(&outcome, 0, &[], system.name);
            for (file, _) in CONFIGS {
                let config = yaml(&machine, file);
                // As the login page reads what is typed: without blanks at the ends.
                assert_eq!(
                    (&config["password"], &config["hashed-password"]),
                    (&"a\"b".into(), &serde_json::Value::Null)
                );
                assert_eq!(machine.mode(file), 0o600);
            }
        }
    }
}

#[test]
fn a_password_is_made_where_none_is_given() {
    let (make, kept) = (MAKE, KEPT);
    for system in systems() {
        let mut machine = boot(&system, &ARGON2);
        let mut made = Vec::new();
        for command in [format!("{make} --generate"), make.to_owned()] {
            let outcome = machine.run(&command);
            expect(
                &outcome,
                0,
                &["made a password; it is kept in", kept],
                system.name,
            );
            let password = machine.read(kept).trim().to_owned();
            assert!(
                password.len() == 32 && password.chars().all(|c| c.is_ascii_alphanumeric()),
                "{password}"
            );
            assert_eq!(machine.mode(kept), 0o600);
            let hash = yaml(&machine, CONFIGS[1].0)["hashed-password"]
                .as_str()
                .unwrap()
                .to_owned();
            assert!(hash.ends_with(&hex(&password)), "{}", system.name);
            assert_unseen(&mut machine, &outcome, &password, system.name);
            made.push(password);
        }
        assert_ne!(made[0], made[1], "{}", system.name);
        // It is of no use any more once there is another.
        expect(
            &machine.run(&format!("VSCODE_TOKEN=mine {make}")),
            0,
            &[],
            system.name,
        );
        assert!(!machine.exists(kept), "{}", system.name);
        assert!(
            machine.exists("/root/.config/code-server/config.yaml.bak"),
            "{}",
            system.name
        );
    }
}

#[test]
fn a_person_is_asked_and_what_is_secret_is_not_shown() {
    for system in systems() {
        let mut machine = boot(&system, &DOCKER);
        let mut terminal =
            machine.terminal("HOME=/root /usr/local/etc/init.d/makedockerconfig; echo \"status $?\"");
        terminal.answer("enter your dockerhub username:", "me\n");
        terminal.answer("enter your dockerhub personal access token:", r#"s3 "cret" $x"#);
        terminal.answer("token:", "\n");
        let (_, screen) = terminal.end();
        assert!(
            screen.contains("status 0") && !screen.contains("cret"),
            "{}: {screen}",
            system.name
        );
        assert_eq!(
            login(&machine, LOGINS[0], HUB),
            r#"me:s3 "cret" $x"#,
            "{}",
            system.name
        );

        let mut machine = boot(&system, &ARGON2);
        let mut terminal = machine.terminal("trap : INT; /usr/local/etc/init.d/makevscodeconfig; stty -a");
        terminal.answer("enter your desired access token(plain strings ok):", "ab\u{3}");
        let (_, screen) = terminal.end();
        let flags: Vec<_> = screen.split_whitespace().collect();
        assert!(
            flags.contains(&"echo"),
            "{}: the terminal stays silent after Ctrl-C:\n{screen}",
            system.name
        );
        assert!(!machine.exists(CONFIGS[0].0), "{}", system.name);
    }
}
