//! Bootable images: a base (kernel, modules, root filesystem), the extensions
//! of an appliance with everything that they need, and the boot menus, put
//! together as one ISO.

pub mod appliance;
pub mod base;
pub mod carried;
pub mod closure;
pub mod concerns;
pub mod container;
pub mod description;
mod disk;
pub mod initrd;
pub mod iso;
mod loader;
mod make;
pub mod menu;
pub mod oci;
pub mod overlay;
pub mod reference;
mod sums;
pub mod supply;
pub mod tools;

pub use iso::refuse_folder;
pub use make::{ImageError, Made, Request, TIME, make};
