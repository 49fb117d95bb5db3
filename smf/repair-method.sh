#!/bin/sh
# Look for engines that the hub does not know every half minute or more, under SMF, as root.
#
#   repair-method
#
# The random part keeps the machines of a cluster from asking all at once.
set -u

libexec=/opt/ipyfleet/libexec
pause=${IPYFLEET_REPAIR_PAUSE:-30}
limit=60 # s that asking may take

while :; do
    sleep $((pause + $(od -An -N2 -tu2 /dev/urandom) % (pause + 1)))
    if /opt/ipyfleet/env/bin/python -I "$libexec/run-as.py" ipyparallel "$limit" "$libexec/engine-repair" ask; then
        "$libexec/engine-repair" restart
    fi
done
