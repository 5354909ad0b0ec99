//! The words of the command line. Help texts, completions and man pages are
//! made from these definitions.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use tcforge::image::appliance::DEFAULT_APPLIANCE;

/// Turn an ordinary Linux host into a source of Tiny Core Linux extensions and appliances.
#[derive(Debug, Parser)]
#[command(name = "tcforge", version, about, propagate_version = true)]
#[command(
    after_help = "Exit status: 0 done, 1 wrong input or a failing network or disk, 2 wrong usage, 70 a bug."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print the result as JSON on the standard output
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Say only what went wrong
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub(crate) quiet: bool,
    /// Say more: every file, every step
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) verbose: bool,
    /// Use colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Global options"
    )]
    pub(crate) color: ColorChoice,
    /// The project folder; otherwise the nearest one upwards with a tcforge.lock, or the built-in data
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "TCFORGE_PROJECT",
        value_hint = ValueHint::DirPath,
        help_heading = "Global options"
    )]
    pub(crate) project: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make extensions from pinned upstream releases
    Build(BuildArgs),
    /// Fill the cache with all files that a build reads
    Fetch(FetchArgs),
    /// Look for newer releases and write them to recipes and lock
    Update(UpdateArgs),
    /// Make an extension from a folder
    Pack(PackArgs),
    /// Make a bootable image of an appliance
    Iso(IsoArgs),
    /// Audit extensions, ours or anybody's
    Check(CheckArgs),
    /// Boot an image in QEMU
    Run(RunArgs),
    /// List the recipes and their releases
    List(ListArgs),
    /// Check and patch kernel configurations, and build kernels
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// Write the built-in recipes, templates and lists out, to edit them
    Init(InitArgs),
    /// Tell which outside programs are there and what the missing ones are for
    Doctor,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages
    Man {
        /// Where to
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

/// What is made from what: shared by `build`, `fetch` and `update`.
#[derive(Debug, Args)]
pub(crate) struct Selection {
    /// The recipes; without one, all that the channels have
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The channel that releases are taken from; of several, the first that has one. NAME=CHANNEL is for
    /// one recipe alone [default: current]
    #[arg(
        long = "channel",
        value_name = "[NAME=]CHANNEL",
        env = "TCFORGE_CHANNEL",
        value_delimiter = ','
    )]
    pub(crate) channels: Vec<String>,
}

/// How files are fetched.
#[derive(Debug, Args)]
pub(crate) struct Network {
    /// Never use the network: everything must be in the cache
    #[arg(long, env = "TCFORGE_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) offline: bool,
    /// Try this base URL (URL/FILE-NAME) before the origin; may be repeated
    #[arg(
        long = "mirror",
        value_name = "URL",
        env = "TCFORGE_MIRROR",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) mirrors: Vec<String>,
    /// Where fetched files are kept [default: the user's cache folder]
    #[arg(long, value_name = "DIR", env = "TCFORGE_CACHE", value_hint = ValueHint::DirPath)]
    pub(crate) cache: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) network: Network,
    /// Use a local file for an asset, whatever the lock says; the result is marked as unlocked
    #[arg(long = "file", value_name = "ASSET=PATH")]
    pub(crate) files: Vec<String>,
    /// Where the extensions go
    #[arg(long, short, value_name = "DIR", default_value = "out", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
    /// Write extensions even if the audit finds errors in them
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) network: Network,
    /// Instead of recipes, the Debian packages that images' bases and kernels are made of
    #[arg(long, conflicts_with = "names")]
    pub(crate) bases: bool,
    /// Show what would change, and write nothing
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// The folder: what is in it becomes the extension's root
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// The extension to write
    #[arg(value_name = "OUT.tcz", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
    /// Bytes in a block: a power of two from 4096 to 1048576 (4K, 128K, 1M)
    #[arg(long, value_name = "SIZE", default_value = "4096")]
    pub(crate) block_size: String,
    /// How blocks are compressed
    #[arg(long, value_name = "KIND", default_value = "gzip")]
    pub(crate) compression: CompressionChoice,
    /// How hard; gzip 1 to 12, zstd 1 to 22, xz 0 to 9
    #[arg(long, value_name = "N")]
    pub(crate) level: Option<u8>,
    /// A direct dependency, such as coreutils.tcz; may be repeated
    #[arg(long = "dep", value_name = "NAME.tcz")]
    pub(crate) dependencies: Vec<String>,
    /// An info file whose texts are taken over
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) info: Option<PathBuf>,
    /// Write the extension even if the audit finds errors in it
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct IsoArgs {
    /// The appliance: a file iso/NAME.toml
    #[arg(value_name = "APPLIANCE", default_value = DEFAULT_APPLIANCE)]
    pub(crate) appliance: String,
    /// What the image starts from: tinycore, the official release, or mini, a stand-in made of Debian's packages [default: the appliance's]
    #[arg(long, value_name = "BASE")]
    pub(crate) base: Option<String>,
    /// Another kernel: a folder with vmlinuz64 and its modules
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) kernel: Option<PathBuf>,
    /// Where built extensions are, and where the image goes
    #[arg(long, short, value_name = "DIR", default_value = "out", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
    /// The channel that extensions come from; of several, the first that has one. NAME=CHANNEL is for one
    /// recipe alone [default: the appliance's]
    #[arg(
        long = "channel",
        value_name = "[NAME=]CHANNEL",
        env = "TCFORGE_CHANNEL",
        value_delimiter = ','
    )]
    pub(crate) channels: Vec<String>,
    /// Use a local file for an asset, whatever the lock says; its extension is built anew and marked as unlocked
    #[arg(long = "file", value_name = "ASSET=PATH")]
    pub(crate) files: Vec<String>,
    /// Put a container image on the disk: its full name, and an archive as `docker save` writes it; may be
    /// repeated. It is imported to containerd's namespace `default` unless another is given
    #[arg(long = "image", value_name = "[NAMESPACE:]REF=FILE")]
    pub(crate) images: Vec<String>,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionChoice {
    Gzip,
    Xz,
    Zstd,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The extensions; their side files are looked for beside them
    #[arg(value_name = "FILE", required = true, action = ArgAction::Append, value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only what this channel has
    #[arg(long, value_name = "CHANNEL")]
    pub(crate) channel: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder to write to
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The image
    #[arg(value_name = "ISO", value_hint = ValueHint::FilePath)]
    pub(crate) iso: PathBuf,
    /// Boot it without a terminal, wait until every service answers and a container has run, power it off
    #[arg(long)]
    pub(crate) check: bool,
    /// How it is plugged in
    #[arg(long, value_name = "AS", default_value = "cd")]
    pub(crate) boot: BootChoice,
    /// Start it by UEFI instead of by BIOS
    #[arg(long)]
    pub(crate) uefi: bool,
    /// Who runs its instructions: the processor, or QEMU by emulation [env: TCFORGE_ACCELERATOR] [default: KVM
    /// where it works]
    #[arg(long, value_name = "WHO")]
    pub(crate) accelerator: Option<AcceleratorChoice>,
    /// MiB of memory
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub(crate) memory: u32,
    /// Processors [default: as many as here]
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<u32>,
    /// Make a port of the box a port of this machine's loopback; may be repeated. Ports of services that
    /// answer people are made so anyway
    #[arg(long = "forward", short, value_name = "[HOST:]PORT")]
    pub(crate) forwards: Vec<String>,
    /// The data disk, a file of raw bytes; made if it is not there
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) disk: Option<PathBuf>,
    /// GiB of a data disk that is made; it takes only as much as is used
    #[arg(long, value_name = "GIB", default_value_t = 8)]
    pub(crate) disk_size: u32,
    /// With --check: seconds until the box has to be up
    #[arg(long = "timeout", value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(..=604_800))]
    pub(crate) time_out: u64,
    /// With --check: where the console's log, what QEMU said, the timeline and the box's logs go
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BootChoice {
    /// A CD
    Cd,
    /// A disk of a VPS
    Disk,
    /// A USB stick
    Usb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcceleratorChoice {
    /// The processor
    Kvm,
    /// Emulation, ten to twenty times as slow
    Tcg,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KernelCommand {
    /// Tell what a kernel's configuration has of what containers and Tiny Core need
    Check(KernelCheckArgs),
    /// Change a kernel's configuration to what is needed, and show what was changed
    Config(KernelConfigArgs),
    /// Build a kernel and its module extensions, for `tcforge iso --kernel DIR`
    Build(KernelBuildArgs),
}

/// What a kernel's configuration is held against.
#[derive(Debug, Args)]
pub(crate) struct Requirements {
    /// Only this requirement list (kernel/NAME.toml); may be repeated [default: all]
    #[arg(long = "set", value_name = "NAME", value_delimiter = ',')]
    pub(crate) sets: Vec<String>,
    /// The kernel that the configuration is for, as 5.4 [default: what its header says]
    #[arg(long, value_name = "VERSION")]
    pub(crate) kernel_version: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct KernelCheckArgs {
    /// A .config, /proc/config.gz, or a kernel that carries its configuration
    #[arg(value_name = "CONFIG", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) requirements: Requirements,
}

#[derive(Debug, Args)]
pub(crate) struct KernelConfigArgs {
    /// A .config, /proc/config.gz, or a kernel that carries its configuration
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) requirements: Requirements,
    /// The kernel's source: its own tools complete and verify the result
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "kernel_version")]
    pub(crate) tree: Option<PathBuf>,
    /// Where the changed configuration goes; without it, only the changes are shown
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct KernelBuildArgs {
    /// `official` (Tiny Core's), `debian:linux-source-5.10`, or a folder with a source tree
    #[arg(long, value_name = "SOURCE", default_value = "official")]
    pub(crate) source: String,
    /// The configuration [default: the source's own, which `official` has]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Change it by this requirement list only (kernel/NAME.toml); may be repeated [default: all]
    #[arg(long = "set", value_name = "NAME", value_delimiter = ',')]
    pub(crate) sets: Vec<String>,
    /// Change nothing in the configuration
    #[arg(long, conflicts_with = "sets")]
    pub(crate) as_is: bool,
    /// What `uname -r` ends with, as -tinycore64 [default: as configured]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) localversion: Option<String>,
    /// Where kernel, modules and extensions go
    #[arg(long, short, value_name = "DIR", default_value = "out/kernel", value_hint = ValueHint::DirPath)]
    pub(crate) out: PathBuf,
    /// Where sources are unpacked and objects kept, so that the next build goes on [default: in the cache]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) work: Option<PathBuf>,
    /// How many compilers run at once [default: as many as processors here]
    #[arg(long, short, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Fetch a source whose sum nobody has published, and write its sum to the project's lock
    #[arg(long)]
    pub(crate) record: bool,
    #[command(flatten)]
    pub(crate) network: Network,
}
