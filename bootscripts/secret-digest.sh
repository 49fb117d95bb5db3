#!/bin/sh
# The SHA-256 of the secret half in a file with a CURVE pair, "none" without such a file; as root. So it can be searched
# for where it must not be, though it never leaves the machine.
#
#   secret-digest.sh FILE
set -eu

if [ ! -e "$1" ]; then
    echo none
    exit 0
fi
digest="digest -a sha256" # illumos
if command -v sha256sum >/dev/null 2>&1; then
    digest=sha256sum
fi
secret=$(sed -n 's/^ *"secret": "\([^"]*\)",*$/\1/p' "$1")
# shellcheck disable=SC2086 # a command with its options
printf %s "$secret" | $digest | cut -d ' ' -f 1
