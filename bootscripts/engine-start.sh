#!/bin/sh
# Become engine number K of this machine, as the service user, under systemd or SMF.
#
#   engine-start K
#
# Reads /etc/ipyfleet/ipengine.values, lines "KEY VALUE": machine (its name), heartbeat_misses, options (one word of the
# command line each), environment (NAME=VALUE each). Notes the engine's ident in /run/ipyfleet/ipengine@K.ident. Under
# SMF, both are elsewhere: IPYFLEET_VALUES, IPYFLEET_RUN.
set -eu

number=$1
values=${IPYFLEET_VALUES:-/etc/ipyfleet/ipengine.values}
run=${IPYFLEET_RUN:-/run/ipyfleet}

PATH=/opt/ipyfleet/env/bin:/usr/local/bin:/opt/local/bin:/usr/bin:/bin # /opt/local: SmartOS' packages
IPYTHONDIR=/var/lib/ipyparallel/.ipython
export PATH IPYTHONDIR

machine='' misses=''
set --
while IFS= read -r line; do
    value=${line#* }
    case ${line%% *} in
    machine) machine=$value ;;
    heartbeat_misses) misses=$value ;;
    options) set -- "$@" "$value" ;;
    environment) export "${value?}" ;;
    esac
done <"$values"
if [ -z "$machine" ] || [ -z "$misses" ]; then
    echo "engine-start: $values lacks machine or heartbeat_misses" >&2
    exit 1
fi

# New at every start: a hub that still holds the heart of an ident lets a second engine of that ident in, unseen for ever.
ident="$machine-$number-$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')"
echo "$ident" >"$run/ipengine@$number.ident"

# It waits for file and hub inside one process rather than by being restarted.
program=/opt/ipyfleet/libexec/engine-program.py
exec python "$program" --file=/etc/ipyfleet/engine.json --ident="$ident" --timeout=300 \
    --IPEngine.wait_for_url_file=300 --IPEngine.max_heartbeat_misses="$misses" "$@"
