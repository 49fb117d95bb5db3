#!/bin/sh
# Make the Python environment that the services run in on a host with pkgsrc (SmartOS): compiled packages from there, the
# rest from a wheelhouse.
#
#   software-pkgsrc.sh WHEELS ID
#
# WHEELS is a tar of wheels, python (the minor version they are for), wanted.txt (packages by name and version, for pip)
# and native (lines "NAME==VERSION PACKAGE": what pkgsrc has to give, with the version that the client has). Without
# wheels in it, the host's own pip takes the rest from its index, in the versions of constraints.txt. It leaves what
# software.sh leaves: /opt/ipyfleet/env-ID, complete when its file ipyfleet-software-id holds ID, and the link
# /opt/ipyfleet/env to it. Prints a line for each package of pkgsrc that has another version than the client's.
# Runs as root, any number of times, also killed at any point: what has no id file is made anew. Only tools that illumos
# has; what it installs from pkgsrc stays when the project is taken off.
# Exit codes: 0 there now, 1 failed, 3 pkgsrc does not offer what is needed.
set -eu
umask 022

if [ $# -ne 2 ] || [ "$(id | cut -c1-6)" != "uid=0(" ]; then
    echo "usage, as root: software-pkgsrc.sh WHEELS ID" >&2
    exit 1
fi
source=$1
id=$2

PATH=/opt/local/bin:/opt/local/sbin:/usr/xpg4/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
unset PYTHONPATH PYTHONHOME
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

base=/opt/ipyfleet
env=$base/env-$id
wheels=$base/wheels

holds_id() {
    [ "$(cat "$1/ipyfleet-software-id" 2>/dev/null)" = "$id" ]
}

complain() {
    echo "software-pkgsrc.sh: $*" >&2
}

if holds_id "$base/env"; then
    exit 0
fi

mkdir -p "$base"
# A folder is made by one of many at most. Who made it and was killed left it: its process is no more.
lock=/var/run/ipyfleet-software.lock # gone at boot, as are the processes
tries=600
nobody=0
until mkdir "$lock" 2>/dev/null; do
    owner=$(cat "$lock/pid" 2>/dev/null || :)
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
        rm -rf "$lock"
        continue
    fi
    if [ -z "$owner" ]; then
        nobody=$((nobody + 1))
        if [ "$nobody" -ge 5 ]; then # killed between making it and signing it
            rm -rf "$lock"
            nobody=0
            continue
        fi
    fi
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then
        complain "another software-pkgsrc.sh has been at work for 10 minutes (process ${owner:-unknown})"
        exit 1
    fi
    sleep 1
done
echo $$ >"$lock/pid"
trap 'rm -rf "$lock" "$wheels"' EXIT
trap 'exit 143' HUP INT TERM

if holds_id "$base/env"; then
    exit 0
fi
rm -rf "$wheels" "$env"
mkdir "$wheels"
(cd "$wheels" && tar -xof "$source")
minor=$(cat "$wheels/python")
interpreter=python$(echo "$minor" | tr -d .)

if ! command -v pkgin >/dev/null; then
    complain "there is no pkgin on this host; use an image that has pkgsrc, such as base-64-lts"
    exit 3
fi
if ! said=$(pkgin -y update 2>&1); then
    echo "$said" >&2
    complain "pkgin update failed; has this host a way to its package repository?"
    exit 1
fi

# offered PACKAGE: whether pkgsrc has a package of that very name.
offered() {
    pkgin search "^$1-[0-9]" 2>/dev/null | grep "^$1-[0-9]" >/dev/null
}

packages=$(sed 's/.* //' "$wheels/native")
pip=$(find "$wheels" -name 'pip-*.whl')
[ -n "$pip" ] || packages="$packages py${interpreter#python}-pip"
missing=
for package in "$interpreter" $packages; do
    offered "$package" || missing="$missing $package"
done
if [ -n "$missing" ]; then
    others=$(pkgin search '^python3[0-9]*-[0-9]' 2>/dev/null | sed -n 's/^python3\([0-9]*\)-.*/3.\1/p' | tr '\n' ' ')
    complain "the packages of this image do not include:$missing"
    case $missing in
    *" $interpreter"*)
        complain "the client runs Python $minor, here there is: ${others:-none}; run the client under one of these, or" \
            "choose an image of another year"
        ;;
    *) complain "leave these out of \`packages\`, or choose an image that has them; their names there may be other ones" ;;
    esac
    exit 3
fi
# shellcheck disable=SC2086 # a list of names
if ! said=$(pkgin -y install "$interpreter" $packages 2>&1); then
    echo "$said" >&2
    complain "pkgin install failed"
    exit 1
fi

python=$(command -v "python$minor")
"$python" -m venv --without-pip --system-site-packages "$env"
set -- install --quiet --no-input --disable-pip-version-check --no-compile --no-cache-dir -r "$wheels/wanted.txt"
if [ -n "$pip" ]; then
    # pip chooses among what lies here, against what pkgsrc has given: of packages that need a compiled one, there may
    # be two.
    PIP_CONFIG_FILE=/dev/null "$env/bin/python" "$pip/pip" --isolated "$@" --no-index --find-links "$wheels" >&2
else
    "$env/bin/python" -m pip "$@" --only-binary :all: --constraint "$wheels/constraints.txt" >&2
fi
# Packages that `invoke put --package` brings; seen also by engines that run when they come.
mkdir -p "$base/packages"
echo "$base/packages" >"$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ipyfleet.pth"
"$env/bin/python" -m compileall -qq "$env/lib" || :

"$env/bin/python" - "$wheels/native" <<'END'
import sys
from importlib.metadata import version

import ipyparallel
import zmq

if not zmq.has("curve"):
    sys.exit("software-pkgsrc.sh: pyzmq of this image cannot encrypt (no CURVE); choose another image, or `encryption: hmac`")
with open(sys.argv[1], encoding="utf-8") as lines:
    for line in lines:
        name, _, wanted = line.split()[0].partition("==")
        if version(name) != wanted:
            print(f"{name} is {version(name)} there, {wanted} here")
END

sync # after a power cut, an id file must not stand beside files that never reached the disk
echo "$id" >"$env/.id"
mv "$env/.id" "$env/ipyfleet-software-id"

mkdir -p /etc/profile.d
# shellcheck disable=SC2016 # for the shell that reads it
echo 'PATH="$PATH:/opt/ipyfleet/env/bin"' >"$base/profile"
mv "$base/profile" /etc/profile.d/ipyfleet.sh

# A link to a folder is not replaced by mv, which would go into it: there is a moment without one.
rm -f "$base/env"
ln -s "env-$id" "$base/env"
