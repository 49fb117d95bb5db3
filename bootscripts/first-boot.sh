#!/bin/sh
# What a machine does at its first boot, beside answering SSH: our user and folders, Debian packages, the software, and
# a script of the user's own. What it prints is for the boot's log.
#
#   first-boot.sh FOLDER ID SECONDS [PACKAGE...]
#
# FOLDER holds host.sh and, if ID is not "", software.sh with its requirements.txt and python; if there is a script
# userdata, it is the user's. Notes in FOLDER/steps, one line each, what began and how it ended: "STEP running", "STEP
# done" or "STEP failed CODE", and at the very end "end done". What fails ends it all, but for the software, which has
# so many SECONDS: a machine that cannot fetch it gets it from its client. Runs as root, any number of times.
set -eu
umask 022

folder=$1
id=$2
limit=$3
shift 3

quick=10     # s that a server of packages may be silent
patience=900 # s for one command of apt-get; another one, of the machine's own updates, may be at work

HOME=${HOME:-/root}
export HOME DEBIAN_FRONTEND=noninteractive
: >"$folder/steps"

# step NAME COMMAND...
step() {
    name=$1
    shift
    echo "first-boot.sh: $name"
    echo "$name running" >>"$folder/steps"
    code=0
    "$@" || code=$?
    if [ "$code" -eq 0 ]; then
        echo "$name done" >>"$folder/steps"
    else
        echo "first-boot.sh: $name failed with exit code $code" >&2
        echo "$name failed $code" >>"$folder/steps"
    fi
    return "$code"
}

apt_get() {
    timeout "$patience" apt-get -qq -o Acquire::Retries=2 -o "Acquire::http::Timeout=$quick" \
        -o "Acquire::https::Timeout=$quick" -o "DPkg::Lock::Timeout=$patience" -o Dpkg::Use-Pty=0 "$@"
}

# Packages by name; a fresh machine has no lists of them.
packages() {
    if [ -z "${listed-}" ]; then
        apt_get update && listed=yes || return
    fi
    apt_get install --no-install-recommends "$@"
}

seconds() {
    cut -d . -f 1 /proc/uptime
}

# Fetching takes a pip, which Debian and Ubuntu do not have in python3.
software() {
    end=$(($(seconds) + limit))
    if ! ls /usr/share/python-wheels/pip-*.whl >/dev/null 2>&1; then
        patience=$((limit / 3)) # for each of two commands
        packages python3-pip-whl || return
    fi
    timeout "$((end - $(seconds)))" sh "$folder/software.sh" "$folder" "$id"
}

step host sh "$folder/host.sh"
[ $# -eq 0 ] || step packages packages "$@"
[ -z "$id" ] || step software software || :
[ ! -e "$folder/userdata" ] || step userdata "$folder/userdata"
echo "end done" >>"$folder/steps"
