#!/bin/sh
# The whole kill matrix on the fake EC2: opsrun is killed before and after every single call that changes the cloud, in each
# scenario; then the same command again, then deprovision. Prints each point. The tests take a spread of these points.
#   sh tests/bench/aws_kill.sh [SCENARIO]        provision, scale_up, scale_down, replace, deprovision; default: all
set -eu
cd "$(dirname "$0")/../.."
KILL_POINTS=all exec cargo test --test aws "kill::${1:-}" -- --nocapture
