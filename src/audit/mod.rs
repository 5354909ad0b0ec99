//! What can be said of an extension from the outside.
