//! `tcforge run`

mod check;

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use miette::{IntoDiagnostic, WrapErr};
use reqwest::Url;
use tcforge::image::description::{Description, Service};
use tcforge::scratch::{self, Scratch};
use tcforge::vm::{Accelerator, Boot, Bus, Disk, Firmware, Forward, Guest, Machine, create_data_disk};

use super::args::{AcceleratorChoice, BootChoice, RunArgs};
use super::terminal::Terminal;

/// For a shell inside that answers: a boot without KVM may take minutes.
const BOOT: Duration = Duration::from_secs(1800);

pub(crate) fn run(args: &RunArgs, terminal: &Terminal) -> super::Outcome {
    let description = Description::read(&args.iso)?;
    let mut machine = machine(args, terminal)?;
    let decided = machine.decided()?;
    let accelerator = decided.unwrap_or_else(Accelerator::of_this_machine);
    if description.is_none() {
        // An image that is not ours need not say anything where it is listened to.
        machine.accelerator = Some(accelerator);
    }
    let folder = Scratch::in_dir(&scratch::runtime_dir())
        .into_diagnostic()
        .wrap_err("cannot make a folder for temporary files")?;
    let iso = args.iso.display();
    terminal.status("Booting", format!("{iso} with {}", accelerator.title()));
    let services = description.map_or_else(Vec::new, |description| description.services);
    if args.check {
        return check::run(args, &services, &machine, folder.path(), terminal);
    }
    for (name, url) in urls(&services, &mut machine.forwards)? {
        terminal.status(
            "URL",
            format!("{name}: {url} (once the box says that it answers)"),
        );
    }
    for Forward { host, guest } in &machine.forwards {
        terminal.status(
            "Forward",
            format!("127.0.0.1:{host} here is port {guest} of the box"),
        );
    }
    terminal.status(
        "Console",
        "this terminal; Ctrl-A X ends the machine, Ctrl-A H tells more",
    );
    let mut guest = machine.start_on_terminal(folder.path(), terminal)?;
    if guest.was_silent() {
        // Its answer has it remembered that KVM hangs here.
        let _ = guest.run(":", BOOT);
    }
    open_loopback(&mut guest, &machine, terminal);
    guest.wait()?;
    Ok(ExitCode::SUCCESS)
}

fn machine(args: &RunArgs, terminal: &Terminal) -> miette::Result<Machine> {
    let iso = args.iso.clone();
    let boot = match args.boot {
        BootChoice::Cd => Boot::Cd(iso),
        BootChoice::Disk => Boot::Disk(iso, Bus::Virtio),
        BootChoice::Usb => Boot::Disk(iso, Bus::Usb),
    };
    let mut machine = Machine::new(boot);
    machine.accelerator = args.accelerator.map(|choice| match choice {
        AcceleratorChoice::Kvm => Accelerator::Kvm,
        AcceleratorChoice::Tcg => Accelerator::Tcg,
    });
    machine.network = true;
    machine.memory = args.memory;
    machine.cpus = match args.cpus {
        Some(cpus) => cpus,
        None => std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
    };
    if args.uefi {
        machine.firmware = Firmware::Uefi;
    }
    if let Some(file) = &args.disk {
        if !file.exists() {
            create_data_disk(file, u64::from(args.disk_size) << 30)?;
            terminal.status("Made", format!("the data disk `{}`", file.display()));
        }
        machine.disks.push(Disk {
            file: file.clone(),
            bus: Bus::Virtio,
        });
    }
    machine.forwards = args
        .forwards
        .iter()
        .map(|text| forward(text))
        .collect::<Result<_, _>>()?;
    Ok(machine)
}

/// `HOST:GUEST`, or one port for both.
fn forward(text: &str) -> miette::Result<Forward> {
    let (host, guest) = text.split_once(':').unwrap_or((text, text));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    let (Some(host), Some(guest)) = (port(host), port(guest)) else {
        return Err(miette::miette!(
            help = "write `8080`, or `8081:8080` for port 8081 here and 8080 in the box",
            "`{text}` is no pair of ports"
        ));
    };
    TcpListener::bind(("127.0.0.1", host)).map_err(|error| {
        miette::miette!(
            help = "choose another one: `--forward 10000:{guest}`",
            "port {host} of this machine cannot be used: {error}"
        )
    })?;
    Ok(Forward { host, guest })
}

/// The services that answer people: their names, and the URLs by which they are
/// reached from here. A port that is not forwarded yet will be: to the same port
/// here if it is free, else to any.
fn urls<'a>(services: &'a [Service], forwards: &mut Vec<Forward>) -> miette::Result<Vec<(&'a str, Url)>> {
    let mut urls = Vec::new();
    for service in services {
        let url = service.url.as_deref().and_then(|url| Url::parse(url).ok());
        let Some((mut url, guest)) = url.and_then(|url| url.port_or_known_default().map(|port| (url, port)))
        else {
            continue;
        };
        let host = match forwards.iter().find(|forward| forward.guest == guest) {
            Some(forward) => forward.host,
            None => {
                let host = free_port(guest)
                    .into_diagnostic()
                    .wrap_err("cannot find a free port")?;
                forwards.push(Forward { host, guest });
                host
            }
        };
        // Neither fails for a URL that has a host.
        let _ = url.set_host(Some("127.0.0.1"));
        let _ = url.set_port(Some(host));
        urls.push((service.name.as_str(), url));
    }
    Ok(urls)
}

/// A port of the loopback that nobody has, this one if that can be.
fn free_port(wanted: u16) -> io::Result<u16> {
    let loopback = |port| TcpListener::bind(("127.0.0.1", port));
    let listener = loopback(wanted).or_else(|_| loopback(0))?;
    Ok(listener.local_addr()?.port())
}

/// Services of an appliance listen on its loopback only.
fn open_loopback(guest: &mut Guest, machine: &Machine, terminal: &Terminal) {
    let ports: Vec<u16> = machine.forwards.iter().map(|forward| forward.guest).collect();
    if ports.is_empty() {
        return;
    }
    if let Err(error) = guest.open_loopback(&ports, BOOT) {
        terminal.warning(format!(
            "only what is open to the network can be reached: {error}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, url: Option<&str>) -> Service {
        Service {
            name: name.to_owned(),
            url: url.map(str::to_owned),
        }
    }

    #[test]
    fn what_answers_people_is_reached_from_here() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let services = [
            service("containerd", None),
            service("gateway", Some("http://127.0.0.1:8080/ui/?x=1")),
            service("taken", Some(&format!("http://localhost:{port}"))),
            service("odd", Some("no url")),
        ];
        let mut forwards = vec![Forward {
            host: 10080,
            guest: 8080,
        }];
        let urls = urls(&services, &mut forwards).unwrap();
        let other = forwards[1].host;
        assert_eq!(
            forwards,
            [
                Forward {
                    host: 10080,
                    guest: 8080
                },
                Forward {
                    host: other,
                    guest: port
                }
            ]
        );
        assert_ne!(other, port);
        let told: Vec<_> = urls.iter().map(|(name, url)| format!("{name} {url}")).collect();
        assert_eq!(
            told,
            [
                "gateway http://127.0.0.1:10080/ui/?x=1".to_owned(),
                format!("taken http://127.0.0.1:{other}/")
            ]
        );
    }

    #[test]
    fn a_pair_of_ports_is_checked() {
        let pair = forward("10443:443").unwrap();
        assert_eq!((pair.host, pair.guest), (10443, 443));
        for wrong in ["", "http", "0", "1:0", "1:2:3", "65536"] {
            let error = forward(wrong).unwrap_err();
            assert_eq!(error.to_string(), format!("`{wrong}` is no pair of ports"));
        }
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = forward(&format!("{port}:80")).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("port {port} of this machine cannot be used")),
            "{error}"
        );
    }
}
