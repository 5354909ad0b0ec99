//! `tcforge build`, `fetch` and `check` from end to end.

mod bad_world;
mod channels;
mod complete;
mod failures;
mod hostile;
mod interrupts;
mod lock;
mod same_bytes;
mod wrong_recipes;
