//! How long work tells what it is doing, without knowing who listens.

/// Where long work reports to. The command line draws bars; tests collect.
pub trait Progress: Send + Sync {
    /// Starts one task (a file to fetch, an image to pack). `total` is in
    /// bytes and may be unknown at first.
    fn start(&self, name: &str, total: Option<u64>) -> Box<dyn Task>;

    /// Starts one task that is counted in steps (objects to compile) and not in
    /// bytes.
    fn start_count(&self, name: &str, total: Option<u64>) -> Box<dyn Task> {
        self.start(name, total)
    }

    /// A listener for several tasks that are one to the person, with what all of
    /// them come to: `total` bytes, if that is known. `None`: there is no such thing
    /// here, and this one listens to the tasks.
    fn group(&self, name: &str, total: Option<u64>) -> Option<Box<dyn Progress>> {
        let _ = (name, total);
        None
    }

    /// Says one line of interest (a retry, a fallback); not an error.
    fn note(&self, text: &str);
}

/// One task under way. Dropping it ends it.
pub trait Task: Send + Sync {
    /// Sets how many bytes are done: a resumed or restarted task may go back.
    fn set_position(&self, bytes: u64);

    /// Sets the total once it is known.
    fn set_total(&self, bytes: u64);
}

/// A listener that says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }

    fn note(&self, _: &str) {}
}

impl Task for Silent {
    fn set_position(&self, _: u64) {}

    fn set_total(&self, _: u64) {}
}
