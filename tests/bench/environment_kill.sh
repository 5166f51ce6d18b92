#!/bin/sh
# The whole kill matrix of the verbs of environments: opsrun is killed before and after every single call that changes the (fake)
# cloud; then the same verb again, then decommission and clean. Prints each point. The tests take a spread of those of commission.
#   sh tests/bench/environment_kill.sh [VERB]        commission, update, decommission, clean; default: all
set -eu
cd "$(dirname "$0")/../.."
KILL_POINTS=all exec cargo test --test environment "kill::${1:-}" -- --nocapture --include-ignored --test-threads 1
