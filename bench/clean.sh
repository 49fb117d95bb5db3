#!/bin/sh
# Bring a benchmark's host back to how it booted: nothing of any contender runs or lies there. For throw-away machines.
#
#   clean.sh        as root
#
# The software stays: /opt/ipyfleet/env and /opt/bench. Prints, one a line, what could not be removed; nothing is right.
set -u

login=ipyfleet
service=ipyparallel
home=/home/$login

# The processes of both users but those that brought us here, and whatever else was started for them.
theirs() {
    chain=" $$ "
    pid=$$
    while [ "$pid" -gt 1 ]; do
        pid=$(sed 's/.*) . \([0-9]*\) .*/\1/' "/proc/$pid/stat") || break
        chain="$chain$pid "
    done
    for user in $login $service; do
        for pid in $(ps -u "$user" -o pid= 2>/dev/null); do
            case $chain in
            *" $pid "*) ;;
            *) [ -d "/proc/$pid" ] && echo "$pid" ;;
            esac
        done
    done
}

# SIGKILL before the stop: nobody has to be asked, and nobody waits for a nanny.
systemctl stop --no-block ipyfleet-repair.timer ipyfleet-lease.timer 'ipengine@*.service' ipcontroller.service \
    ipyfleet-repair.service 2>/dev/null
tries=0
while [ -n "$(theirs)" ] && [ "$tries" -lt 50 ]; do
    # shellcheck disable=SC2046 # a list of numbers
    kill -s KILL $(theirs) 2>/dev/null
    tries=$((tries + 1))
    sleep 0.1
done
systemctl stop ipyfleet-repair.timer ipyfleet-lease.timer 'ipengine@*.service' ipcontroller.service 2>/dev/null

units=/etc/systemd/system
rm -rf $units/ipcontroller.service* $units/ipengine@*.service* $units/ipyfleet-* $units/*.wants/ipcontroller.service \
    $units/*.wants/ipengine@*.service $units/*.wants/ipyfleet-*
find /etc/ipyfleet -mindepth 1 ! -name user-made -delete 2>/dev/null
find /opt/ipyfleet/libexec /var/lib/ipyparallel -mindepth 1 -delete 2>/dev/null
find /tmp /var/tmp -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' -exec rm -rf {} +
find $home -mindepth 1 -maxdepth 1 ! -name .ssh ! -name '.bash*' ! -name .profile -exec rm -rf {} +
rm -rf /run/ipyfleet
systemctl daemon-reload
systemctl reset-failed

for pid in $(theirs); do
    echo "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
done
ss -Hltn | grep -v ':22 '
systemctl list-units --all --plain --no-legend 'ipcontroller*' 'ipengine*' 'ipyfleet*'
exit 0
