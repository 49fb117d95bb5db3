#!/bin/sh
# Wait until a SmartOS machine has run its user-script; print how that ended and the last lines of its log.
#
#   smartos-wait.sh SECONDS
#
# The first line of the output: "ended", "failed", "late" (it still runs after so many seconds) or "absent" (this machine
# has no svc:/smartdc/mdata:execute); then the log. A machine shows DIS at first, until the service that fetches its
# metadata enables this one; a script that takes more than 300 s is killed and run again; after a failure it is MNT.
set -eu
PATH=/usr/xpg4/bin:$PATH:/usr/sbin:/usr/bin:/sbin:/bin # what POSIX says, where illumos has its own

service=svc:/smartdc/mdata:execute
end=$(($(date +%s) + $1)) # by the clock: looking takes time as well
absent=0
while :; do
    state=$(svcs -H -o STA,NSTA "$service" 2>/dev/null | tr -s ' ' ' ') || state=
    case $state in
    "ON -"*)
        verdict=ended
        break
        ;;
    "MNT -"*)
        verdict=failed
        break
        ;;
    "")
        absent=$((absent + 1))
        if [ "$absent" -ge 20 ]; then
            verdict=absent
            break
        fi
        ;;
    esac
    if [ "$(date +%s)" -ge "$end" ]; then
        verdict=late
        break
    fi
    sleep 1
done
echo "$verdict"
log=$(svcs -L "$service" 2>/dev/null) || log=
if [ -n "$log" ] && [ -e "$log" ]; then
    tail -n 20 "$log"
fi
