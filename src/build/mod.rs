//! Drives the stages for one recipe: from lock and recipe to audited extensions.
