#!/bin/sh
# Everything that must hold before a change lands: format, lints, licences, docs, tests.
set -eux
cargo fmt --check
cargo clippy --all-targets -- -D warnings
cargo deny check licenses bans sources
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib -q
cargo test
