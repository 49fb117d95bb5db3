#!/bin/sh
# Wait until the first boot of a machine is over, as root, and say how it went; changes nothing.
#
#   boot-wait.sh FOLDER SECONDS
#
# Prints "cloud-init STATE": ended, late (at work after so many seconds) or off (it does not run here at all); then what
# first-boot.sh has noted in FOLDER/steps; then, unless all ended well, a line "log" and what cloud-init wrote last.
set -eu

folder=$1
limit=$2
run=${IPYFLEET_CLOUD_RUN:-/run/cloud-init} # where result.json is when the last stage of this boot is over
log=${IPYFLEET_CLOUD_LOG:-/var/log/cloud-init-output.log}

# Seconds since this boot began: at a first boot the clock may jump.
uptime() {
    read -r seconds _ </proc/uptime
    seconds=${seconds%.*}
}

uptime
end=$((seconds + limit))
# Not `cloud-init status --wait`: once something has failed, it no longer waits for the rest; and it takes a second.
state=ended
until [ -e "$run/result.json" ]; do
    if ! command -v cloud-init >/dev/null || [ -e "$run/disabled" ]; then
        state=off
        break
    fi
    uptime
    if [ "$seconds" -ge "$end" ]; then
        state=late
        break
    fi
    sleep 0.2
done

steps=$(cat "$folder/steps" 2>/dev/null || :)
printf 'cloud-init %s\n%s\n' "$state" "$steps"
case $state:$steps in
ended:*"end done") exit 0 ;;
esac
echo log
tail -n 40 "$log" 2>/dev/null || :
