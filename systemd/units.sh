#!/bin/sh
# Many units in one round trip, as root: sent to the host, never installed there.
#
#   units.sh start ALSO UNIT...                 enable and start, not waiting; running units stay as they are
#   units.sh restart ALSO UNIT...               enable, stop and start, not waiting
#   CHANGED=yes units.sh up "ANEW..." ALSO UNIT...     restart, or without CHANGED restart those of ANEW, start the others
#   units.sh stop "UNIT..." GLOB...             disable the units, stop all that the globs match
#   units.sh remove "UNIT..." "GLOB..." PATH... the same, then remove the files
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

# Disabling a template disables all its instances; stopping takes patterns, which systemd itself matches.
take_out() {
    there=
    for unit in $units; do
        file=$unit
        case $unit in
        *@*) file=${unit%%@*}@.${unit##*.} ;;
        esac
        [ ! -e "/etc/systemd/system/$file" ] || there="$there $unit"
    done
    # shellcheck disable=SC2086 # a list of units
    [ -z "$there" ] || systemctl disable --quiet $there
    systemctl stop -- "$@" || [ $? -eq 5 ] # 5: not loaded
    systemctl reset-failed -- "$@" 2>/dev/null || :
}

verb=$1
shift
anew=
case $verb in
up)
    anew=$1
    shift
    verb=start
    [ -z "${CHANGED-}" ] || verb=restart
    ;;
esac
case $verb in
start)
    also=$1
    shift
    reload_if_needed "$@"
    systemctl enable --quiet --no-reload --now --no-block "$@"
    # shellcheck disable=SC2086 # a list of units
    [ -z "$anew" ] || systemctl restart --no-block $anew
    ;;
restart)
    also=$1
    shift
    reload_if_needed "$@"
    systemctl enable --quiet --no-reload "$@"
    systemctl restart --no-block "$@"
    ;;
stop)
    units=$1
    shift
    take_out "$@"
    ;;
remove)
    units=$1
    set -f
    # shellcheck disable=SC2086 # a list of patterns
    take_out $2
    set +f
    shift 2
    rm -rf -- "$@"
    systemctl daemon-reload
    ;;
esac
