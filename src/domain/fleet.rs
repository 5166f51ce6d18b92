//! A set of nodes acted on in parallel.
