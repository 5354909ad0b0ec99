//! `.dep`: what is read is written back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcforge::tcz::side::dep;

fuzz_target!(|text: &str| {
    if let Ok(dependencies) = dep::parse(text) {
        assert_eq!(dep::print(&dependencies), text);
    }
    let (dependencies, _) = dep::read(text);
    assert!(dependencies.iter().all(|one| one.name().ends_with(".tcz")));
});
