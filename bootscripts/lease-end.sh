#!/bin/sh
# The lease is over: do what was agreed, as root (systemd only).
#
#   lease-end
#
# Line "action poweroff" of /etc/ipyfleet/ipyfleet-lease.values powers this machine off; "action stop" stops our
# services and takes them out of the boot: the computer is somebody's own.
set -eu

values=/etc/ipyfleet/ipyfleet-lease.values
action=$(sed -n 's/^action //p' "$values")

case $action in
poweroff)
    echo "the lease is over: powering off"
    systemctl poweroff
    ;;
stop)
    echo "the lease is over: stopping this host's services"
    # Disabling the template disables all its instances.
    for unit in ipyfleet-repair.timer ipengine@.service ipcontroller.service ipyfleet-lease.timer; do
        systemctl disable --quiet --no-reload "$unit" || : # there is only one of the two services here
    done
    systemctl daemon-reload
    systemctl stop ipyfleet-repair.timer 'ipengine@*.service' ipcontroller.service ipyfleet-lease.timer || :
    ;;
*)
    echo "lease-end: $values names no action: poweroff or stop" >&2
    exit 1
    ;;
esac
