#!/bin/sh
# End what is left of a service: the processes of its contract, which is all that it started, whoever their parents are.
#
#   smf-contract clear CONTRACT SECONDS    give them so long to end by themselves, then kill them
#   smf-contract succeed NOTE SECONDS      the same with the contract in NOTE, then note the caller's own there
#
# Runs as the service user, outside the contract that it ends. Whether the restarter kills or only forgets what a
# service leaves at its end is not ours to rely on: a start clears what the last one left. Numbers of contracts begin
# anew when the computer boots, so a note is of its boot.
set -u

# clear CONTRACT SECONDS
clear() {
    tries=$(($2 * 5))
    while pgrep -c "$1" >/dev/null; do
        [ "$tries" -gt 0 ] || pkill -KILL -c "$1"
        [ "$tries" -gt -50 ] || return 1 # beyond our power
        tries=$((tries - 1))
        sleep 0.2
    done
}

case ${1-} in
clear)
    clear "$2" "$3"
    ;;
succeed)
    boot=$(kstat -p unix:0:system_misc:boot_time 2>/dev/null | tr -cd 0-9)
    own=$(ps -o ctid= -p $$ | tr -cd 0-9)
    if [ -n "$boot" ] && [ -n "$own" ]; then
        noted='' former=''
        [ ! -e "$2" ] || read -r noted former <"$2"
        if [ "$noted" = "$boot" ] && [ -n "$former" ] && [ "$former" != "$own" ]; then
            clear "$former" "$3"
        fi
        echo "$boot $own" >"$2"
    fi
    ;;
*)
    echo "usage: smf-contract clear CONTRACT SECONDS | succeed NOTE SECONDS" >&2
    exit 2
    ;;
esac
