#!/bin/sh
# Set up this computer: the programs that machines on it need, and the virtual environment .venv in the checkout.
#
#   here.sh [--test]        --test adds what the project's own tests need
#
# Any number of times, as root or as a user with sudo; what is there is left alone, and what will be installed is named
# before it is. Where there is no apt-get it names what is needed and goes on with the virtual environment.
set -eu
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # where a user's shell does not look, but the programs are

case ${1-} in
"") extra= ;;
--test) extra="test" ;;
*)
    echo "usage: here.sh [--test]" >&2
    exit 2
    ;;
esac
cd "$(dirname "$0")/.."

say() {
    echo "here.sh: $*"
}

fail() {
    say "$*" >&2
    exit 1
}

python=$(command -v python3) || fail "there is no python3 here; install Python 3.11 or newer first"
version=$("$python" -c 'import sys; print(*sys.version_info[:3], sep="."); sys.exit(sys.version_info < (3, 11))') ||
    fail "the first python3 on the PATH is too old ($version); Python 3.11 or newer must come first"

# What the environment was made of: while that stays the same it is left alone. Tests need more, never less.
made=.venv/made-of
now="Python $version $(cat pyproject.toml requirements.lock 2>/dev/null | cksum)"
have=$(cat "$made" 2>/dev/null || true)
done=
if [ -x .venv/bin/python ] && { [ "$have" = "$now $extra" ] || [ "$have" = "$now test" ]; }; then
    done=yes
fi

missing=
# need PACKAGE COMMAND...: the package is missing unless the command succeeds
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

[ -n "$done" ] || need python3-venv "$python" -c 'import ensurepip, venv'
need openssh-client command -v ssh-keygen
if [ "$(uname -s)" = Linux ]; then
    need systemd-container command -v systemd-nspawn
    need mmdebstrap command -v mmdebstrap
    need iproute2 command -v ip
    need mount command -v mount
fi
if [ -n "$extra" ]; then
    need openssh-server command -v sshd
    need procps command -v pgrep
    need shellcheck command -v shellcheck
    need zsh command -v zsh
    need fish command -v fish
fi

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || fail "installing needs root: run this as root, or install sudo"
        sudo "$@"
    fi
}

if [ -n "$missing" ]; then
    if command -v apt-get >/dev/null; then
        say "installing with apt-get:$missing"
        # A fresh system has no package lists, an old one has stale ones.
        as_root apt-get -qq update
        # shellcheck disable=SC2086 # a list of words
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq --no-install-recommends install $missing >/dev/null
    else
        say "this computer has no apt-get; what these Debian packages hold is needed to make machines here:$missing"
    fi
fi

[ -z "$done" ] || exit 0
say "making the virtual environment .venv (Python $version)"
rm -f "$made"
if [ "$(.venv/bin/python -c 'import sys; print(*sys.version_info[:3], sep=".")' 2>/dev/null)" != "$version" ]; then
    "$python" -m venv --clear .venv
fi
set --
if [ -f requirements.lock ]; then
    set -- --constraint requirements.lock
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" --editable ".${extra:+[$extra]}"
echo "$now $extra" >"$made"
