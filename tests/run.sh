#!/bin/sh
# Everything that must hold before a change lands: format, lints, licences, docs, tests.
set -eux
cargo fmt --check
cargo clippy --all-targets -- -D warnings
cargo deny check licenses bans sources
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib -q
# A test that hangs fails after 25 minutes (exit status 124), with the names of those that had not ended above it.
cargo test --config 'target."cfg(unix)".runner = ["timeout", "--foreground", "--kill-after=10", "1500"]'
