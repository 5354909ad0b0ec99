//! Bootable images: a base (kernel, modules, root filesystem), the extensions
//! of an appliance with everything that they need, and the boot menus, put
//! together as one ISO.

pub mod appliance;
pub mod base;
pub mod closure;
pub mod container;
pub mod description;
mod disk;
pub mod initrd;
pub mod iso;
mod loader;
mod make;
pub mod menu;
pub mod overlay;
mod sums;
pub mod supply;
pub mod tools;

pub use make::{ImageError, Made, Request, TIME, make};
