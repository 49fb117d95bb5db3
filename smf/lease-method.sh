#!/bin/sh
# The lease of this machine under SMF, as root: counts down from each boot, then does what was agreed (lease-end).
#
#   lease-method start    from its full length; from where it was, when it was killed in between
#   lease-method stop     the next start has its full length again
#
# Counts by sleeping, which no setting of the clock makes shorter or longer. The note, "SECONDS_LEFT WRITTEN", is gone
# after a boot; WRITTEN is by the clock, and only says how old the note is.
set -eu

note=${IPYFLEET_LEASE_NOTE:-/var/run/ipyfleet-lease}
libexec=/opt/ipyfleet/libexec

case ${1-} in
start)
    left=$("$libexec/smf-values" "$SMF_FMRI" | sed -n 's/^seconds //p')
    case $left in
    '' | *[!0-9]*)
        echo "lease-method: no whole number of seconds: $left" >&2
        exit 96 # SMF's word for a configuration that no retry mends
        ;;
    esac
    rm -f /var/run/ipyfleet/lease.pid # ends the timer of a first boot (smartos-boot.sh): from here on this one counts
    if [ -e "$note" ]; then
        read -r left _ <"$note"
    fi
    while [ "$left" -gt 0 ]; do
        echo "$left $(date +%s)" >"$note.new"
        mv "$note.new" "$note"
        step=60
        [ "$left" -ge "$step" ] || step=$left
        sleep "$step"
        left=$((left - step))
    done
    "$libexec/smf-values" "$SMF_FMRI" >"$note.values"
    IPYFLEET_VALUES=$note.values
    export IPYFLEET_VALUES
    "$libexec/lease-end"
    # SMF, or the end of the machine, ends this. If neither comes, it is started again, and tries again.
    sleep 600
    ;;
stop)
    rm -f "$note"
    contract=$(svcprop -p restarter/contract "$SMF_FMRI")
    pkill -TERM -c "$contract" || :
    "$libexec/smf-contract" clear "$contract" 5
    ;;
*)
    echo "usage: lease-method start|stop" >&2
    exit 2
    ;;
esac
