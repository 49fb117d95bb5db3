#!/bin/sh
# Become the controller, as the service user, under systemd or SMF.
#
#   controller-start
#
# Reads /etc/ipyfleet/ipcontroller.values for the user's own options (lines "options OPTION", one word each; under SMF
# IPYFLEET_VALUES is another file of this kind) and ipcontroller_config.py for everything else.
set -eu

config=/etc/ipyfleet/ipcontroller_config.py
values=${IPYFLEET_VALUES:-/etc/ipyfleet/ipcontroller.values}

# Without it ipcontroller would only warn, and run unencrypted with keys and ports of its own.
if [ ! -r "$config" ]; then
    echo "controller-start: $config is missing or not readable for $(id -un)" >&2
    exit 1
fi

set --
while IFS= read -r line; do
    value=${line#* }
    case ${line%% *} in
    options) set -- "$@" "$value" ;;
    esac
done <"$values"

PATH=/opt/ipyfleet/env/bin:/usr/local/bin:/opt/local/bin:/usr/bin:/bin
IPYTHONDIR=/var/lib/ipyparallel/.ipython
export PATH IPYTHONDIR
exec ipcontroller --config="$config" "$@"
