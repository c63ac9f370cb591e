#!/bin/sh
# Everything that must hold before a change lands: formatting, lints, tests, examples. Fetches a small real model and
# a software driver of a GPU for the tests that use them; without a network these say that they are skipped.
set -eu
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

step scripts/fetch_smollm.sh || echo "no model could be fetched: tests that need it are skipped"
step scripts/fetch_driver.sh || echo "no driver of a GPU: tests that need one are ignored"
# Mesa's driver asks for it on machines without a desktop.
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"
step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
step cargo test --workspace --release --locked --quiet
step cargo run --release --locked --quiet -- test stdlib --vectors tests/data/vectors
