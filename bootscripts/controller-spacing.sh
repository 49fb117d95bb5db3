#!/bin/sh
# Keep two controllers of one cluster apart: engines that outlive one and find the next would serve it unknown to it.
#
#   controller-spacing wait      before the start: until the spacing has passed since the last controller's end
#   controller-spacing stopped   after the end: note the time
#   controller-spacing forget    the engines have been stopped: the next start need not wait
#
# The spacing (line "spacing SECONDS" of /etc/ipyfleet/ipcontroller.values, a whole number) counts from the noted end;
# from now when none was noted (power cut); not at all before the very first start. Never waits longer than the spacing,
# whatever the clock does. Runs under systemd and SMF, as the service user; "forget" as root too.
set -eu

values=${IPYFLEET_VALUES:-/etc/ipyfleet/ipcontroller.values}
note=${IPYFLEET_NOTE:-/var/lib/ipyparallel/controller-spacing} # nothing, "running" or "stopped SECONDS_SINCE_1970"

last=none
since=0
if [ -e "$note" ]; then
    read -r last since <"$note" || :
fi

wait_for_engines_to_leave() {
    spacing=$(sed -n 's/^spacing //p' "$values")
    case $spacing in
    '' | *[!0-9]*)
        echo "controller-spacing: no whole number of seconds in $values: spacing $spacing" >&2
        exit 1
        ;;
    esac
    now=$(date +%s)
    case $last in
    none) left=0 ;;
    stopped) left=$((since + spacing - now)) ;;
    *) left=$spacing ;;
    esac
    if [ "$left" -gt "$spacing" ]; then # the clock was set back
        left=$spacing
    fi
    if [ "$left" -gt 0 ]; then
        echo "waiting ${left} s until the last controller's engines have left"
        sleep "$left"
    fi
}

case ${1-} in
wait)
    wait_for_engines_to_leave
    echo running >"$note"
    ;;
stopped)
    # A stop while still waiting is no end of a controller.
    if [ "$last" = running ]; then
        echo "stopped $(date +%s)" >"$note"
    fi
    ;;
forget)
    rm -f "$note"
    ;;
*)
    echo "usage: controller-spacing wait|stopped|forget" >&2
    exit 2
    ;;
esac
