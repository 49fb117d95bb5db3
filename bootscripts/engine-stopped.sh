#!/bin/sh
# After an engine's end, clear away what it left in its control group (systemd only, as the service user).
#
#   engine-stopped K
#
# The nanny has 3 s to tell the hub of the engine's death; then it and all others, such as the workers of a pool whose
# parent was killed, are killed. A clean stop leaves nothing and takes no time.
set -u

groups=${IPYFLEET_GROUPS:-/sys/fs/cgroup}
own_groups=${IPYFLEET_OWN_GROUPS:-/proc/self/cgroup}

rm -f "/run/ipyfleet/ipengine@$1.ident"

group=''
while IFS=: read -r hierarchy controllers path; do
    case $hierarchy:$controllers in
    *:name=systemd)
        group=$groups/systemd$path # v1, and v1 with v2 beside it
        break
        ;;
    0:) group=$groups$path ;; # v2 alone, unless a line of v1 follows
    esac
done <"$own_groups"

# The processes of the group but this one; builtins only, since a command would be in the group itself.
left_over() {
    left=''
    while read -r pid; do
        [ "$pid" = $$ ] || left="$left $pid"
    done <"$group/cgroup.procs"
    [ -n "$left" ]
}

tries=0
while left_over && [ "$tries" -lt 60 ]; do
    if [ "$tries" -ge 30 ]; then
        # shellcheck disable=SC2086 # a list of numbers
        kill -s KILL $left 2>/dev/null
    fi
    tries=$((tries + 1))
    sleep 0.1
done
exit 0
