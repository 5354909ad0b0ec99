//! Debian's kernel and the modules that an image gets, against depmod.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use tcforge::image::base::{BaseKind, release_of};
use tcforge::stage::Stage;

use super::{RELEASE, fetcher, lay_out, load_with, mini, only, run, shared_cache, sum, text};

/// What kmod's depmod says of the same modules.
fn depmod(modules: &Stage, name: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    lay_out(modules, folder.path());
    let below = folder.path().join("lib/modules").join(RELEASE);
    for ours in ["modules.dep", "modules.alias", "modules.softdep"] {
        fs::remove_file(below.join(ours)).unwrap();
    }
    // It looks into what that leads to.
    fs::remove_file(below.join("kernel.tclocal")).unwrap();
    let mut command = Command::new("/sbin/depmod");
    command.arg("-b").arg(folder.path()).arg(RELEASE);
    run(&mut command, "depmod is needed: apt-get install kmod");
    fs::read_to_string(below.join(name)).unwrap()
}

fn ours(name: &str) -> String {
    text(&mini().kernel.modules, &format!("lib/modules/{RELEASE}/{name}"))
}

/// Each module with what it needs, in order.
fn dependencies(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .map(|line| {
            let (module, needs) = line.split_once(':').unwrap();
            (
                module.to_owned(),
                needs.split_whitespace().map(str::to_owned).collect(),
            )
        })
        .collect()
}

fn lines(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn modules_need_what_depmod_says_and_come_in_an_order_that_loads() {
    let (ours, theirs) = (ours("modules.dep"), depmod(&mini().kernel.modules, "modules.dep"));
    let (ours, theirs) = (dependencies(&ours), dependencies(&theirs));
    let set = |all: &BTreeMap<String, Vec<String>>| -> BTreeMap<String, BTreeSet<String>> {
        let sets = all
            .iter()
            .map(|(module, needs)| (module.clone(), needs.iter().cloned().collect()));
        sets.collect()
    };
    assert!(ours.len() > 100, "{}", ours.len());
    assert_eq!(set(&ours), set(&theirs));
    // modprobe begins at the end of a line.
    for (module, needs) in &ours {
        for (index, needed) in needs.iter().enumerate() {
            let later: BTreeSet<_> = needs[index + 1..].iter().collect();
            for deeper in &ours[needed] {
                assert!(later.contains(deeper), "{module}: {needed} before {deeper}");
            }
        }
    }
}

#[test]
fn aliases_and_soft_dependencies_are_those_of_depmod() {
    for name in ["modules.alias", "modules.softdep"] {
        let theirs = depmod(&mini().kernel.modules, name);
        let ours = ours(name);
        assert!(lines(&ours) == lines(&theirs), "{name}:\n{ours}\n\n{theirs}");
        assert!(!lines(&ours).is_empty());
    }
}

#[test]
fn what_is_not_named_comes_by_need_and_nothing_else_comes() {
    let all = dependencies(&ours("modules.dep"));
    let has = |path: &str| all.contains_key(&format!("kernel/{path}"));
    for (path, wanted) in [
        ("fs/squashfs/squashfs.ko", true),
        ("net/bridge/br_netfilter.ko", true),
        ("net/netfilter/xt_MASQUERADE.ko", true),
        // needed by bridge
        ("net/802/stp.ko", true),
        // a soft dependency, by an alias (crypto-crc32c)
        ("crypto/crc32c_generic.ko", true),
        ("fs/btrfs/btrfs.ko", false),
        ("sound/core/snd.ko", false),
    ] {
        assert_eq!(has(path), wanted, "{path}");
    }
}

#[test]
fn the_kernel_is_debians_and_its_modules_are_for_it() {
    let kernel = &mini().kernel;
    assert_eq!(kernel.release, RELEASE);
    assert_eq!(release_of(&kernel.image).unwrap(), RELEASE);
    for (path, node) in kernel.modules.iter() {
        let name = path.to_string();
        assert!(
            format!("lib/modules/{RELEASE}/").starts_with(&name)
                || name == "/"
                || name.starts_with(&format!("lib/modules/{RELEASE}")),
            "{name}"
        );
        assert_eq!((node.owner.uid, node.owner.gid), (0, 0), "{name}");
    }
}

#[test]
fn a_kernel_from_the_cache_is_the_one_that_was_unpacked() {
    // The packages come from the shared cache, the kernel is made here.
    let wanted = sum(&only(&mini().kernel.modules));
    let cache = tempfile::tempdir().unwrap();
    let fetcher = fetcher(cache.path(), &[&shared_cache()]);
    let load = || load_with(&fetcher, BaseKind::Mini, None, None).unwrap();
    let kept = |ending: &str| {
        let folder = fs::read_dir(cache.path().join("kernels")).unwrap();
        let mut paths = folder.map(|entry| entry.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|one| one == ending))
    };
    let image = |folder: &Path| fs::read(folder.join("vmlinuz64")).unwrap();

    let (first, first_folder) = load();
    assert_eq!(sum(&only(&first.kernel.modules)), wanted);
    let (again, folder) = load();
    assert_eq!(sum(&only(&again.kernel.modules)), wanted);
    assert!(image(folder.path()) == image(first_folder.path()));

    // A damaged one is made anew.
    let tar = kept("tar").unwrap();
    let whole = fs::read(&tar).unwrap();
    fs::write(&tar, &whole[..whole.len() / 2]).unwrap();
    let (mended, _folder) = load();
    assert_eq!(sum(&only(&mended.kernel.modules)), wanted);
    assert!(fs::read(kept("tar").unwrap()).unwrap() == whole);
}
