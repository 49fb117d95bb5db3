#!/bin/sh
# Say how a machine of a cluster is, one NAME=VALUE a line; as root, changes nothing.
#
#   examine.sh "UNITS" "FMRIS" [ADDRESS PORT...]
#
# UNITS and FMRIS are what systemd and SMF call the services that shall run here. ADDRESS is the controller's: connections
# to its PORTs are opened and closed again.
#
# manager: what runs services here · machine: its processors, i86pc for illumos · software: id of the environment · look:
# what the service manager shows, line by line · files: limit of open files of a running controller or engine, soft and
# hard · disk: path, kB used and free, where it is mounted · memory: available kB · begun, ended: this machine's clock
# around all that follows · python: the environment's version · package: name and version · closed: port and why · broken:
# what the environment's Python said instead.
# Where a part cannot be told, its lines are not there.
set -u

PATH=/usr/xpg4/bin:$PATH:/usr/sbin:/sbin # what POSIX says, where illumos has its own
env=${IPYFLEET_ENV:-/opt/ipyfleet/env}
svcs=${IPYFLEET_SVCS:-/usr/bin/svcs}
units=$1
fmris=$2
shift 2

echo "machine=$(uname -m)"
echo "software=$(cat "$env/ipyfleet-software-id" 2>/dev/null)"

pids=
if [ -x "$svcs" ]; then
    echo "manager=smf"
    # shellcheck disable=SC2086 # a list of services
    "$svcs" -H -o STA,NSTA,CTID,FMRI $fmris 2>/dev/null | sed 's/^/look=/'
    for fmri in $fmris; do
        case $fmri in
        *ipcontroller*)
            [ ! -e /var/lib/ipyparallel/ipcontroller/waiting ] || echo "look=waiting"
            ;;
        *ipengine*) ;;
        *) continue ;; # those that only sleep and wake
        esac
        pids="$pids $(svcprop -p restarter/start_pid "$fmri" 2>/dev/null)"
    done
elif [ -d /run/systemd/system ]; then
    echo "manager=systemd"
    # shellcheck disable=SC2086 # a list of units
    systemctl show --property=Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts,InvocationID $units |
        sed 's/^/look=/'
    # shellcheck disable=SC2086
    pids=$(systemctl show --property=MainPID --value $units)
else
    echo "manager="
fi

for pid in $pids; do
    if [ -r "/proc/$pid/limits" ]; then
        sed -n 's/^Max open files *\([^ ]*\) *\([^ ]*\).*/files=\1 \2/p' "/proc/$pid/limits"
    elif [ "$pid" -gt 0 ]; then
        plimit "$pid" 2>/dev/null | sed -n 's/^ *nofiles([a-z]*) *\([^ ]*\) *\([^ ]*\).*/files=\1 \2/p'
    fi
done

for path in / /var/lib/ipyparallel /tmp; do
    df -kP "$path" 2>/dev/null | {
        read -r _
        read -r _ _ used free _ mount && echo "disk=$path $used $free $mount"
    }
done

if [ -r /proc/meminfo ]; then
    sed -n 's/^MemAvailable: *\([0-9]*\) kB/memory=\1/p' /proc/meminfo
else
    # What this zone may have, and has; bytes.
    limit=$(kstat -p -m memory_cap -s physcap 2>/dev/null | sed -n '1s/.*[^0-9]//p')
    used=$(kstat -p -m memory_cap -s rss 2>/dev/null | sed -n '1s/.*[^0-9]//p')
    if [ -n "$limit" ] && [ -n "$used" ]; then
        echo "memory=$(((limit - used) / 1024))"
    fi
fi

# Last, and with the clock at both its ends: the less time lies around them, the better is the clock known.
"$env/bin/python" -I - "$@" 2>&1 <<'END' | sed '/^[a-z]*=/!s/^/broken=/'
import sys
import time

begun = time.time()

import platform
import socket
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distributions


def closed(port):
    try:
        socket.create_connection((sys.argv[1], int(port)), 2).close()
    except OSError as error:
        return f"closed={port} {error.strerror or error}"


lines = [f"begun={begun:.3f}", f"python={platform.python_version()}"]
lines += sorted({f"package={one.name} {one.version}" for one in distributions()})
if sys.argv[2:]:
    with ThreadPoolExecutor(len(sys.argv) - 2) as threads:
        lines += filter(None, threads.map(closed, sys.argv[2:]))
print(*lines, f"ended={time.time():.3f}", sep="\n")
END
