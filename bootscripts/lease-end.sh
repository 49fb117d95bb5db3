#!/bin/sh
# The lease is over: do what was agreed, as root, under systemd or SMF.
#
#   lease-end
#
# Line "action poweroff" of /etc/ipyfleet/ipyfleet-lease.values powers this machine off; "action stop" stops our
# services and takes them out of the boot: the computer is somebody's own. Under SMF, IPYFLEET_VALUES is another file of
# this kind.
set -eu

values=${IPYFLEET_VALUES:-/etc/ipyfleet/ipyfleet-lease.values}
action=$(sed -n 's/^action //p' "$values")

case $action in
poweroff)
    echo "the lease is over: powering off"
    if command -v svcadm >/dev/null; then
        # Not `init 5`, which asks every service to stop first, ours among them: this must come to its end.
        poweroff
    else
        systemctl poweroff
    fi
    ;;
stop)
    echo "the lease is over: stopping this host's services"
    if command -v svcadm >/dev/null; then
        # This runs in the last of them.
        for service in ipyfleet-repair ipengine ipcontroller ipyfleet-lease; do
            svcadm disable "svc:/site/$service:*" || : # there is only one of the two services here
        done
        exit 0
    fi
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
