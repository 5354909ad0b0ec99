//! Extensions as files: the squashfs image and its side files.

pub mod read;
pub mod side;
pub mod squashfs;
pub mod verify;
