#!/bin/sh
# Many units in one round trip, as root: sent to the host, never installed there.
#
#   units.sh start ALSO UNIT...       enable and start, not waiting; running units stay as they are
#   units.sh restart ALSO UNIT...     enable, stop and start, not waiting
#   units.sh stop UNIT...             stop and disable; what is stopped or not there stays so
#   units.sh remove "UNIT..." "GLOB..." PATH...   stop all that the globs match, disable, remove the files
#
# ALSO names further units, "" for none, whose files may have changed. systemd is told to read its files again only when
# it has an older one loaded: that costs it more than the start itself.
set -eu

reload_if_needed() {
    # shellcheck disable=SC2086 # a list of units
    if systemctl show --property=NeedDaemonReload $also "$@" | grep -q =yes; then
        systemctl daemon-reload
    fi
}

disable() {
    if ! systemctl disable --quiet "$@"; then
        # Some are not there, which is as good, or it could not be done, which is not.
        systemctl show --property=LoadState "$@" | grep -q =not-found
    fi
}

stop() {
    systemctl stop -- "$@" || [ $? -eq 5 ] # 5: not loaded
    systemctl reset-failed -- "$@" 2>/dev/null || :
}

verb=$1
shift
case $verb in
start)
    also=$1
    shift
    reload_if_needed "$@"
    systemctl enable --quiet --no-reload --now --no-block "$@"
    ;;
restart)
    also=$1
    shift
    reload_if_needed "$@"
    systemctl enable --quiet --no-reload "$@"
    systemctl restart --no-block "$@"
    ;;
stop)
    disable "$@"
    stop "$@"
    ;;
remove)
    units=$1
    globs=$2
    shift 2
    # shellcheck disable=SC2086 # lists of units and of patterns, which systemd itself matches
    {
        disable $units
        set -f
        stop $globs
        set +f
    }
    rm -rf -- "$@"
    systemctl daemon-reload
    ;;
esac
