#!/bin/sh
# Installs what opsrun's main job (`sh tests/setup.sh run`) or its whole test suite (`sh tests/setup.sh`) needs on Debian.
# Does nothing for what is there already.
set -eu

run_packages="gcc libc6-dev ca-certificates openjdk-17-jre-headless maven"
test_packages="openssh-server openssh-client rsync git sudo procps systemd-container debootstrap iproute2 nftables python3-venv openssl"

want=$run_packages
[ "${1:-test}" = run ] || want="$want $test_packages"

missing=
for package in $want; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    echo "installing:$missing"
    $sudo apt-get update -q
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -q --no-install-recommends $missing
fi

[ "${1:-test}" = run ] && exit 0
# HdrHistogram's own log reader, which ours is compared with.
jar="$HOME/.m2/repository/org/hdrhistogram/HdrHistogram/2.1.12/HdrHistogram-2.1.12.jar"
[ -e "$jar" ] || mvn -q dependency:get -Dartifact=org.hdrhistogram:HdrHistogram:2.1.12
# The cloud's emulators (and boto3 with the first), each in a venv outside the repo: they want different versions of boto.
# And a mail server.
venvs="${XDG_CACHE_HOME:-$HOME/.cache}/opsrun-test"
for wanted in 'moto[server]==5.2.5' 'ministack==1.5.33' 'aiosmtpd==1.4.6'; do
    venv="$venvs/${wanted%%[[=]*}"
    if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install -q "$wanted"
        echo "$wanted" > "$venv/installed"
    fi
done
if command -v rustup >/dev/null; then
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
fi
cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked --debug
