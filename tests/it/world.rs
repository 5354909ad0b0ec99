//! A small world for the real program to run in: a project with a channel and
//! recipes of its own, upstream's files behind a mirror, and a cache.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tcforge::digest::Sha256;
use tempfile::TempDir;

/// Where upstream's files are: a host that does not exist (RFC 6761), so that
/// only a mirror has them.
pub(crate) const UPSTREAM: &str = "https://upstream.invalid";

/// The channel that every recipe of a world is in.
pub(crate) const CHANNEL: &str = "test";

/// A folder with a project, `project`, that the program runs in, a mirror,
/// `mirror`, a cache, `cache`, and what the user saw first, `state`.
pub(crate) struct World {
    folder: TempDir,
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// A world without recipes.
    pub(crate) fn new() -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        world.write("project/tcforge.lock", "version = 1\n");
        world.write(
            &format!("project/recipes/channels/{CHANNEL}.toml"),
            "title = \"Test\"\ndescription = \"For tests\"\n",
        );
        fs::create_dir(world.path("mirror")).unwrap();
        fs::create_dir(world.path("tmp")).unwrap();
        world
    }

    /// A world with the one recipe `tool`, whose one file is `tool.tar.gz`.
    pub(crate) fn with_tool(archive: &[u8]) -> Self {
        let world = Self::new();
        world.upstream("tool.tar.gz", archive);
        world.recipe(
            "tool",
            "[[release.test.asset]]\n\
             url = \"https://upstream.invalid/tool.tar.gz\"\n\
             place = [{ from = \"**\", to = \"usr/local/\" }]\n",
        );
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text.
    pub(crate) fn text_path(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Changes a file that is there.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, text.replacen(from, to, 1));
    }

    /// The names in a folder, sorted; none if it is not there.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }

    /// Puts a file behind the mirror and into the lock.
    pub(crate) fn upstream(&self, name: &str, bytes: &[u8]) {
        self.mirror(bytes);
        self.lock(name, &Sha256::of(bytes).to_string(), bytes.len());
    }

    /// Puts a file behind the mirror: under its sum, as a cache has it.
    pub(crate) fn mirror(&self, bytes: &[u8]) {
        self.write(&format!("mirror{}", by_sum(bytes)), bytes);
    }

    /// Adds an entry to the lock.
    pub(crate) fn lock(&self, name: &str, sum: &str, size: usize) {
        let entry = format!(
            "\n[[file]]\nname = \"{name}\"\nurl = \"{UPSTREAM}/{name}\"\nsize = {size}\nsha256 = \"{sum}\"\n\
             source = \"a test\"\n"
        );
        let lock = self.read("project/tcforge.lock") + &entry;
        self.write("project/tcforge.lock", lock);
    }

    /// Adds a recipe: what is the same in all, and `rest`.
    pub(crate) fn recipe(&self, name: &str, rest: &str) {
        let text = format!(
            "name = \"{name}\"\ndescription = \"Does one thing well\"\nauthor = \"Jane Doe\"\n\
             site = \"https://example.org/{name}\"\nlicense = \"MIT\"\ntags = \"example\"\n\n\
             [release.test]\nversion = \"1.2\"\ndate = \"2026-01-31\"\n\n{rest}"
        );
        self.write(&format!("project/recipes/{name}/recipe.toml"), text);
    }

    /// Changes the built-in settings or limits, and puts them into the project.
    pub(crate) fn settings(&self, name: &str, changes: &[(&str, &str)]) {
        let built_in = tcforge::project::Project::built_in();
        self.write(&format!("project/{name}"), built_in.read_text(name).unwrap());
        for (from, to) in changes {
            self.edit(&format!("project/{name}"), from, to);
        }
    }

    /// The program, to run in the project.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.through(&[], args)
    }

    /// The program, started by another one (`setpriv`, `sh -c`), which gets its
    /// path and arguments behind its own.
    pub(crate) fn through(&self, starter: &[&str], args: &[&str]) -> Command {
        let program = assert_cmd::cargo::cargo_bin("tcforge");
        let mut words = starter.iter().map(OsStr::new).chain([program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(args);
        for name in ["PROJECT", "OFFLINE", "CACHE"] {
            command.env_remove(format!("TCFORGE_{name}"));
        }
        for name in ["SOURCE_DATE_EPOCH", "NO_COLOR", "http_proxy", "HTTP_PROXY"] {
            command.env_remove(name);
        }
        command
            .current_dir(self.path("project"))
            .env_remove("XDG_RUNTIME_DIR")
            .env("XDG_STATE_HOME", self.path("state"))
            .env("TCFORGE_CHANNEL", CHANNEL)
            .env("TCFORGE_CACHE", self.path("cache"))
            .env("TCFORGE_MIRROR", format!("file:{}", self.text_path("mirror")))
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program in the project.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(&mut self.command(args))
    }

    /// Builds everything, which has to succeed, with nothing to say about it.
    pub(crate) fn build(&self) {
        let run = self.run(&["build", "--quiet"]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
    }

    /// Nothing half-made is in the output folder or among the temporary files.
    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.names("project/out"), [""; 0]);
        assert_eq!(self.names("tmp"), [""; 0]);
    }

    /// All files of the output folder.
    pub(crate) fn made(&self) -> BTreeMap<String, Vec<u8>> {
        contents(&self.path("project/out"))
    }

    /// What lies in a made extension, as unsquashfs lists it: mode, owner, name
    /// and target.
    pub(crate) fn listing(&self, image: &str) -> Vec<String> {
        listing(&self.path(image))
    }

    /// The content of a file in an extension, as unsquashfs reads it.
    pub(crate) fn content(&self, image: &str, file: &str) -> String {
        let output = unsquashfs(&["-cat".as_ref(), self.path(image).as_ref(), file.as_ref()]);
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self::ended(output)
    }

    pub(crate) fn ended(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// It failed with these words on the standard error, and nothing on the output.
    #[track_caller]
    pub(crate) fn failed(&self, stderr: &str) {
        assert_eq!(self.stderr, stderr);
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{self:?}");
    }

    /// The standard error with the random part of scratch folders' names cut out.
    pub(crate) fn stderr_without_chance(&self) -> String {
        const RANDOM: usize = 6;
        let mut parts = self.stderr.split(tcforge::scratch::PREFIX);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            text + tcforge::scratch::PREFIX + &part[RANDOM..]
        })
    }

    /// It succeeded with these words on the standard error.
    #[track_caller]
    pub(crate) fn succeeded(&self, stderr: &str) {
        assert_eq!((self.stderr.as_str(), self.code), (stderr, Some(0)), "{self:?}");
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The path of a file in a mirror or a cache.
pub(crate) fn by_sum(bytes: &[u8]) -> String {
    let sum = Sha256::of(bytes).to_string();
    format!("/sha256/{}/{sum}", &sum[..2])
}

/// The names in a folder, sorted; none if it is not there.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// All files of a folder.
pub(crate) fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = names(folder).into_iter();
    files
        .map(|name| (name.clone(), fs::read(folder.join(name)).unwrap()))
        .collect()
}

pub(crate) fn listing(image: &Path) -> Vec<String> {
    let output = unsquashfs(&["-lln".as_ref(), image.as_ref()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut words = line.split_whitespace();
        let (mode, owner) = (words.next().unwrap(), words.next().unwrap());
        // Size, day and time of day; a device has one more.
        let rest: Vec<_> = words.skip(3).collect();
        let name = rest.join(" ").replacen("squashfs-root", "", 1);
        format!("{mode} {owner} {name}")
    });
    lines.collect()
}

fn unsquashfs(args: &[&OsStr]) -> Output {
    let output = Command::new("unsquashfs")
        .args(args)
        .output()
        .expect("unsquashfs is needed: apt-get install squashfs-tools");
    assert!(output.status.success(), "{args:?}: {output:?}");
    output
}

/// A tar archive, compressed with gzip, of files with their modes.
pub(crate) fn tar_gz(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    gzip(&archive.into_inner().unwrap())
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Bytes that do not get smaller, the same every time (xorshift).
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8))
        .flat_map(|_| next().to_le_bytes())
        .collect();
    bytes.truncate(length);
    bytes
}

/// What starts a program without the powers that let root do what modes forbid.
pub(crate) fn without_powers() -> &'static [&'static str] {
    match rustix::process::geteuid().is_root() {
        true => &["setpriv", "--bounding-set=-dac_override,-dac_read_search"],
        false => &[],
    }
}

/// What starts a shell script in which the program is `"$@"`, with mounts of its
/// own: as root, or as a user who may make namespaces.
pub(crate) fn with_mounts(script: &str) -> Vec<&str> {
    let unshare: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["unshare", "--mount"],
        false => &["unshare", "--user", "--map-root-user", "--mount"],
    };
    [unshare, &["sh", "-c", script, "sh"]].concat()
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A library that needs glibc 2.34, as native modules are built now.
pub(crate) fn newer_glibc() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let source = "int __libc_start_main(void); int g(void) { return __libc_start_main(); }";
    fs::write(folder.path().join("x.c"), source).unwrap();
    let output = Command::new("cc")
        .current_dir(folder.path())
        .args(["-nostdlib", "-s", "-shared", "-fPIC", "-o", "x", "x.c", "-lc"])
        .output()
        .expect("cc is needed: apt-get install gcc");
    assert!(output.status.success(), "{output:?}");
    fs::read(folder.path().join("x")).unwrap()
}
