//! Placeholder until its first working slice.
