//! What stands in the place of code-server's native modules, on the node that it is
//! given.

use std::path::{Path, PathBuf};
use std::process::Command;

use tcforge::archive::{self, Format, Limits};
use tcforge::fetch::{Cache, FetchOptions, Fetcher, Network};
use tcforge::progress::Silent;
use tcforge::project::Project;
use tcforge::recipe::{Channel, Lock, Recipe};
use tcforge::stage::{Kind, Spool, TreePath};

use super::world::chmod;

/// The node of the channel `debian`, the same version as `current`'s.
fn node(folder: &Path) -> PathBuf {
    let project = Project::built_in();
    let channel = Channel::load(&project, "debian").unwrap();
    let plan = Recipe::load(&project, "nodejs").unwrap().plan(&channel).unwrap();
    let wanted = tcforge::build::wanted(&[plan], &Lock::load(&project).unwrap()).unwrap();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("base-cache");
    let fetcher = Fetcher::new(FetchOptions {
        cache: Cache::at(&cache),
        network: Network::read(&project).unwrap(),
        mirrors: Vec::new(),
        offline: false,
    });
    let file = fetcher.fetch(&wanted[0], &Silent).unwrap().path;
    let format = Format::from_file_name("x.tgz").unwrap();
    let limits = Limits::load(&project).unwrap();
    let mut spool = Spool::new().unwrap();
    let tree = archive::read(std::fs::File::open(file).unwrap(), &format, &limits, &mut spool).unwrap();
    let program = tree.get(&TreePath::parse("package/bin/node").unwrap()).unwrap();
    let Kind::File(content) = &program.kind else {
        panic!("not a file")
    };
    let node = folder.join("node");
    std::io::copy(
        &mut content.open().unwrap(),
        &mut std::fs::File::create(&node).unwrap(),
    )
    .unwrap();
    chmod(&node, 0o755);
    node
}

/// Hashes of others: the first is of argon2's own test (`password` and `somesalt`), the
/// second of the npm package argon2 0.44.0.
const SCRIPT: &str = r#"
const { hash, verify } = require(process.argv[1]);
const theirs = [
    ["$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA", "password"],
    ["$argon2id$v=19$m=65536,t=3,p=4$jney0Y/NNADqGTFjVIFB7A$X4dYzLl9m5Z8igY0beHfi/AUnDiBwvPvP+csmpvFuD8", "p\u00e4ssword"],
];
(async () => {
    for (const [text, password] of theirs) {
        console.log(await verify(text, password), await verify(text, password + " "));
    }
    const ours = await hash("secret");
    console.log(/^\$argon2id\$v=19\$m=65536,t=3,p=4\$[^$]{22}\$[^$]{43}$/.test(ours), ours === (await hash("secret")));
    console.log(await verify(ours, "secret"), await verify(ours, "Secret"));
    await verify("plain", "plain").catch((error) => console.log(error.message));
})();
"#;

#[test]
fn passwords_are_hashed_as_the_package_argon2_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/code-server/argon2.js");
    let output = Command::new(node(folder.path()))
        .args(["-e", SCRIPT])
        .arg(module)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "true false\ntrue false\ntrue false\ntrue false\nthis is no hash of argon2, version 1.3\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
