//! Every format: the first byte says which.
#![no_main]

mod archive;

use libfuzzer_sys::fuzz_target;
use tcforge::archive::Format;

const NAMES: [&str; 7] = ["x.tar", "x.tar.gz", "x.tar.xz", "x.tar.zst", "x.deb", "x.zip", "x"];

fuzz_target!(|bytes: &[u8]| {
    if let Some((first, bytes)) = bytes.split_first() {
        let name = NAMES[usize::from(*first) % NAMES.len()];
        let format = Format::from_file_name(name).expect("the name has a known ending");
        archive::check(bytes, &format);
    }
});
