#!/bin/sh
# Make the Python environment that the services run in: from a wheelhouse, and then without network, compiler or
# python3-venv; or from packages that this host finds by itself.
#
#   software.sh WHEELS ID
#
# WHEELS is a tar ("-" for standard input) of wheels, requirements.txt (every package pinned) and python (the minor
# version they are for); or a folder with the latter two, for which wheels are fetched: that takes python3-pip-whl.
# Either makes the same: /opt/ipyfleet/env-ID, complete when its file ipyfleet-software-id holds ID, and the link
# /opt/ipyfleet/env to it.
# Runs as root, any number of times, also killed at any point: what has no id file is made anew.
# Exit codes: 0 there now, 1 failed, 3 the host has not the Python that the wheels are for.
set -eu
umask 022

if [ $# -ne 2 ] || [ "$(id -u)" -ne 0 ]; then
    echo "usage, as root: software.sh WHEELS ID" >&2
    exit 1
fi
source=$1
id=$2

# A Python in a login's own folders would be out of the service user's reach.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
# The host's own settings of Python are for its own programs.
unset PYTHONPATH PYTHONHOME
export PYTHONDONTWRITEBYTECODE=1

base=/opt/ipyfleet
env=$base/env-$id
wheels=$base/wheels

holds_id() {
    [ "$(cat "$1/ipyfleet-software-id" 2>/dev/null)" = "$id" ]
}

if holds_id "$base/env"; then
    exit 0
fi

mkdir -p "$base"
# Children inherit the lock: when this script is killed alone, the next one waits until the last of them has ended.
exec 9>"$base/software.lock"
if ! flock -w 600 9; then
    echo "software.sh: another software.sh has been at work for 10 minutes; see: fuser $base/software.lock" >&2
    exit 1
fi

# Where packages come from is the host's to say, in its settings of pip.
fetch_wheels() {
    "$python" "$(ls /usr/share/python-wheels/pip-*.whl)/pip" download --quiet --no-input \
        --disable-pip-version-check --no-cache-dir --timeout 10 --retries 2 --only-binary=:all: --no-deps \
        --dest "$wheels" -r "$wheels/requirements.txt"
}

make_environment() {
    rm -rf "$wheels" "$env"
    trap 'rm -rf "$wheels"' EXIT
    mkdir "$wheels"
    if [ -d "$source" ]; then
        cp "$source/python" "$source/requirements.txt" "$wheels"
    else
        tar -C "$wheels" --no-same-owner -xf "$source"
    fi

    minor=$(cat "$wheels/python")
    python=$(command -v "python$minor" || command -v python3 || true)
    if [ -z "$python" ]; then
        echo "software.sh: no python3 on this host; install Python $minor, the version of the client" >&2
        exit 3
    fi
    found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$found" != "$minor" ]; then
        echo "software.sh: $python is Python $found, but the client runs $minor;" \
            "install python$minor here, or run the client under Python $found" >&2
        exit 3
    fi

    if [ -d "$source" ]; then
        fetch_wheels
    fi

    "$python" -m venv --without-pip "$env"
    # Every package is pinned, so pip need not resolve; compiling later, on all processors, is faster than pip's own.
    PIP_CONFIG_FILE=/dev/null "$env/bin/python" "$(ls "$wheels"/pip-*.whl)/pip" --isolated install --quiet --no-input \
        --disable-pip-version-check --no-index --find-links "$wheels" --no-deps --no-compile --no-cache-dir \
        -r "$wheels/requirements.txt"
    # Packages that `invoke put --package` brings; seen also by engines that run when they come.
    mkdir -p "$base/packages"
    echo "$base/packages" >"$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ipyfleet.pth"
    # A package may hold files that are no valid Python (templates): they are not compiled, and that is no failure.
    # Without /dev/shm (a bare chroot) only one process can compile.
    "$env/bin/python" -m compileall -qq -j 0 -x '/tests?/' "$env/lib" ||
        "$env/bin/python" -m compileall -qq -x '/tests?/' "$env/lib" || true

    "$env/bin/python" - "$wheels/requirements.txt" <<'END'
import sys
from importlib.metadata import version

import ipyparallel
import zmq

with open(sys.argv[1], encoding="utf-8") as lines:
    pins = dict(line.split("==") for line in lines.read().split())
wrong = [f"{name} {version(name)} instead of {pin}" for name, pin in pins.items() if version(name) != pin]
if not zmq.has("curve"):
    wrong.append("pyzmq cannot encrypt (no CURVE)")
if wrong:
    sys.exit("software.sh: " + ", ".join(wrong))
END

    sync -f "$env" # after a power cut, an id file must not stand beside files that never reached the disk
    echo "$id" >"$env/.id"
    mv "$env/.id" "$env/ipyfleet-software-id"
}

if ! holds_id "$env"; then
    make_environment
fi

# Appended, so that the host's own python3 stays what users of the host get; python, ipython and ipcluster are ours.
mkdir -p /etc/profile.d
cat >"$base/profile" <<'END'
PATH="$PATH:/opt/ipyfleet/env/bin"
END
mv "$base/profile" /etc/profile.d/ipyfleet.sh

ln -sfn "env-$id" "$base/env.new"
mv -T "$base/env.new" "$base/env"
