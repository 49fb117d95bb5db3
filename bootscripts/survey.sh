#!/bin/sh
# Say what of ours is on a host, one NAME=VALUE a line; changes nothing and needs no special rights.
#
#   survey.sh
#
# manager: what runs services here · machine: its processors, i86pc for illumos · software: id of the environment · ipcontroller, ipengine: what was deployed last.
set -eu

if [ -x /usr/bin/svcs ] && [ -x /usr/sbin/svccfg ]; then
    echo "manager=smf"
elif [ -d /run/systemd/system ]; then
    echo "manager=systemd"
else
    echo "manager="
fi
echo "machine=$(uname -m)"
echo "software=$(cat /opt/ipyfleet/env/ipyfleet-software-id 2>/dev/null || true)"
for service in ipcontroller ipengine; do
    echo "$service=$(cat "/etc/ipyfleet/$service.deployed" 2>/dev/null || true)"
done
