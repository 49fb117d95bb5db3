#!/bin/sh
# Keep a tunnel open: run ssh, and again when it ends, at the same local ports, so that open clients go on.
#
#   keep-tunnel.sh FOLDER SSH...
#
# Its process group is the tunnel. In FOLDER, ssh's messages go to tunnel.log, those of the last try only. As long as
# there is no tunnel.up, which whoever opens the tunnel makes when it has come up, the first try is the only one: why it
# failed is wanted then, not patience. Later it tries again until the folder's configuration is gone (the cluster was
# removed here), the host shows another key, or nothing has come up for a day. SIGUSR1: try now.
set -u

folder=$1
shift
longest=86400 # s
wait=1
lost=0

trap ': try now' USR1
while :; do
    begun=$(date +%s)
    : >"$folder/tunnel.log"
    "$@" 2>>"$folder/tunnel.log" &
    child=$!
    # A signal ends `wait` as well, and not the child.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
    done
    lasted=$(($(date +%s) - begun))
    [ -e "$folder/tunnel.up" ] && [ -e "$folder/tunnel.ssh_config" ] || exit 1
    ! grep -q 'Host key verification failed' "$folder/tunnel.log" || exit 1
    if [ "$lasted" -ge 60 ]; then # it was up
        wait=1
        lost=0
    fi
    lost=$((lost + lasted + wait))
    [ "$lost" -lt "$longest" ] || exit 1
    sleep "$wait" &
    wait $!
    wait=$((wait * 2))
    [ "$wait" -le 15 ] || wait=15
done
