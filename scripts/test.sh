#!/bin/sh
# Everything that must hold before a change lands: formatting, lints, tests, examples. Fetches a small real model for the
# tests that use one; without a network these say that they are skipped.
set -eu
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

step scripts/fetch_smollm.sh || echo "no model could be fetched: tests that need it are skipped"
step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
step cargo test --workspace --release --locked --quiet
step cargo run --release --locked --quiet -- test stdlib --vectors tests/data/vectors
