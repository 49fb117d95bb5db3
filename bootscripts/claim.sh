#!/bin/sh
# Note whose host this is, unless it is another cluster's; then print whose it is now, as JSON.
#
#   claim.sh ID < owner.json        ID: the cluster's random id, which owner.json names too
#
# Runs as root, any number of times. Two clusters that reach for one host at the same time: the first one has it.
set -eu
umask 022

owner=/etc/ipyfleet/owner.json

mkdir -p /etc/ipyfleet
exec 9>/etc/ipyfleet/claim.lock
if ! flock -w 30 9; then
    echo "claim.sh: another claim.sh has been at work for 30 s" >&2
    exit 1
fi

if [ ! -e "$owner" ] || grep -q "\"id\": \"$1\"" "$owner"; then
    cat >"$owner.new"
    sync "$owner.new"
    mv "$owner.new" "$owner"
fi
cat "$owner"
