//! `.info`: what is written is read back without a deviation of its own making.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcforge::tcz::side::Info;

fuzz_target!(|bytes: &[u8]| {
    let (info, _) = Info::parse(bytes);
    let (again, _) = Info::parse(info.print().as_bytes());
    assert_eq!(again.title.trim(), info.title.trim());
    assert_eq!(Info::parse(again.print().as_bytes()).0, again);
});
