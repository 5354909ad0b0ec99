//! Kernel configurations and Kconfig files: what is read is written back as it
//! was, a mistake names a place in the text, and what is set is found again.
#![no_main]

use std::str;

use libfuzzer_sys::fuzz_target;
use tcforge::kernel::kconfig::Kconfig;
use tcforge::kernel::{Config, KernelError, Tristate, Value};

fuzz_target!(|bytes: &[u8]| {
    // As a file it may be compressed, or a kernel.
    match Config::from_bytes("config", bytes.to_vec()) {
        Ok(config) => change(config),
        Err(KernelError::Invalid(_)) | Err(_) => {}
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    match Config::parse("config", text) {
        Ok(config) => assert_eq!(config.to_string(), text),
        Err(invalid) => {
            assert!(!invalid.mistakes.is_empty());
            for mistake in &invalid.mistakes {
                assert!(text.get(mistake.span.clone()).is_some(), "{mistake:?}");
            }
        }
    }
    let kconfig = Kconfig::read("x86", &|_| Some(text.to_owned()));
    let config = Config::default();
    for name in ["A", "B", "C"] {
        let unmet = kconfig.unmet(name, Tristate::Yes, &config);
        assert!(!unmet.to_string().is_empty());
    }
});

fn change(mut config: Config) {
    let names: Vec<String> = config.options().map(|(name, _)| name.to_owned()).collect();
    let first = names.first().map(String::as_str);
    config.set("FUZZED", Value::Text("a \\ \"b\"".to_owned()), first);
    for name in names.iter().step_by(2) {
        config.set(name, Value::NO, None);
    }
    for name in names.iter().skip(1).step_by(3).filter(|name| *name != "FUZZED") {
        config.remove(name);
    }
    let again = Config::parse("again", &config.to_string()).expect("what is written can be read");
    assert!(again.options().eq(config.options()));
}
