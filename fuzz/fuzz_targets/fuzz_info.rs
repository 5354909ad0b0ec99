//! `.info`: what is written is read back without a deviation of its own making.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcforge::tcz::side::Info;

fuzz_target!(|bytes: &[u8]| {
    let (info, _) = Info::parse(bytes);
    let (again, _) = Info::parse(info.print().as_bytes());
    assert_eq!(words(&again.title), words(&info.title));
    assert_eq!(Info::parse(again.print().as_bytes()).0, again);
});

/// What is left of a field of one line: control characters become spaces.
fn words(text: &str) -> Vec<&str> {
    let parts = text.split(|c: char| c.is_whitespace() || c.is_control());
    parts.filter(|part| !part.is_empty()).collect()
}
