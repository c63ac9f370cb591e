//! Checks of small programs.
