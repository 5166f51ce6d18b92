#!/bin/sh
# The whole kill matrix of baking: on the fake EC2, opsrun is killed before and after every call that changes the cloud; on real
# machines, at 60 moments of a bake. Then it is baked again: one image, and nothing else. The tests take a spread of these points.
#   sh tests/bench/image_kill.sh [image|baking]      the fake EC2, or real machines; default: both
set -eu
cd "$(dirname "$0")/../.."
KILL_POINTS=all exec cargo test --test environment "${1:-}${1:+::}killed_at" -- --nocapture
