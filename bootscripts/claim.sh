#!/bin/sh
# Note whose host this is, unless it is another cluster's; then print whose it is now, as JSON.
#
#   claim.sh ID < owner.json        ID: the cluster's random id, which owner.json names too
#
# Runs as root, any number of times. Two clusters that reach for one host at the same time: the first one has it, since
# a file gets a second name only where there is none of that name.
set -eu
umask 022

owner=/etc/ipyfleet/owner.json
draft=$owner.$$

mkdir -p /etc/ipyfleet
trap 'rm -f "$draft"' EXIT
cat >"$draft"
sync "$draft" # illumos' takes no name, and writes everything down
if ! ln "$draft" "$owner" 2>/dev/null && grep "\"id\": \"$1\"" "$owner" >/dev/null; then
    mv "$draft" "$owner"
fi
cat "$owner"
