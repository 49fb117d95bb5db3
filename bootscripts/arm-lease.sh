#!/bin/sh
# Arm the lease of a machine before anybody can log in: the first thing of its first boot (systemd only).
#
#   arm-lease.sh [MODE PATH TEXT]...
#
# Puts every text into its file and starts the timer, as root. The files are the very ones that a deployment brings, so
# that it finds nothing to change; from the next boot on the timer starts by itself. This runs while systemd is still at
# what the timer comes after: waiting for it would be waiting for ever.
set -eu
umask 022

while [ $# -ge 3 ]; do
    mkdir -p "${2%/*}"
    printf '%s' "$3" >"$2.new"
    chmod "$1" "$2.new"
    mv "$2.new" "$2"
    shift 3
done

systemctl daemon-reload # an image made of a machine of ours has a timer already, of that machine's lease
systemctl enable --quiet --no-reload ipyfleet-lease.timer
systemctl restart --no-block ipyfleet-lease.timer
