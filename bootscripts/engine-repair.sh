#!/bin/sh
# Restart this machine's engines that the hub does not know; in two steps, so that only the second one is root.
#
#   engine-repair ask       as the service user: ask the hub, note the numbers of the unknown
#   engine-repair restart   as root: restart those that run
set -eu

run=${IPYFLEET_RUN:-/run/ipyfleet} # elsewhere under SMF
note=$run/unknown-engines
grace=10 # s since its start in which an engine may be unknown
pause=5  # s between the two questions that both must find it unknown: many may be registering just now

case ${1-} in
ask)
    : >"$note"
    set -- "$run"/ipengine@*.ident
    [ -e "$1" ] || exit 0 # no engine runs here
    exec /opt/ipyfleet/env/bin/python -I /opt/ipyfleet/libexec/unknown-engines.py \
        /etc/ipyfleet/engine.json "$run" "$grace" "$pause" >"$note"
    ;;
restart)
    # User code runs as the user who wrote the note: only numbers are believed.
    while read -r number; do
        case $number in
        '' | *[!0-9]*) continue ;;
        esac
        echo "engine $number runs, but the hub does not know it: restarting"
        if command -v svcadm >/dev/null; then
            svcadm restart "svc:/site/ipengine:engine-$number"
        else
            systemctl try-restart --no-block "ipengine@$number.service"
        fi
    done <"$note"
    ;;
*)
    echo "usage: engine-repair ask|restart" >&2
    exit 2
    ;;
esac
