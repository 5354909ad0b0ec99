//! Archives from the network, read as streams into a stage.
