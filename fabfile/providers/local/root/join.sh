#!/bin/sh
# Move into the control groups named before "--", then become the command after it.
#
#   join.sh GROUP... -- COMMAND...
set -eu
while [ "$1" != -- ]; do
    echo $$ >"$1/cgroup.procs"
    shift
done
shift
exec "$@"
