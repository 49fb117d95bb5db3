#!/bin/sh
# Services of SMF, many in one round trip, as root: sent to the host, never installed there.
#
#   CHANGED=yes services.sh install "NAME..."        import the manifests if anything CHANGED or SMF does not know them,
#                                                    hand over the values
#   CHANGED=yes services.sh up "ANEW..." "NAME..." INSTANCE...    the same, then restart, or without any change restart
#                                                    the instances ANEW and start the others
#   services.sh configure NAME                       hand over the values
#   services.sh start "NAME..." INSTANCE...          enable and start, not waiting; running instances stay as they are
#   services.sh restart "NAME..." INSTANCE...        enable, stop and start, not waiting
#   services.sh clear PATTERN...                     out of maintenance
#   services.sh stop PATTERN...                      disable what the patterns match, wait until it has stopped
#   services.sh remove "NAME..." PATH...             stop and delete the services, then remove the files
#   services.sh look WAITING PATTERN...              "STATE NEXT_STATE CONTRACT FMRI" of each instance; "waiting", if
#                                                    the file WAITING is there
#   services.sh logs LINES PATTERN...                what SMF says of them, their last lines
#   services.sh lease NOTE PATTERN                   "LEFT WRITTEN NOW" of a lease that runs
#
# NAME is a service below site/; the first one has the INSTANCEs, which are added, the others come along: they have
# "default" only. Values come as /etc/ipyfleet/NAME.svccfg, commands for svccfg, with what shall be there afterwards in
# comments; they are compared first. NAME.configured is taken away before anything is written and put there again by the
# caller when all is done, so that an interrupted hand-over is done again.
set -euf # no pattern of SMF is for the shell

PATH=/usr/xpg4/bin:$PATH:/usr/sbin:/usr/bin:/sbin:/bin # what POSIX says, where illumos has its own
libexec=/opt/ipyfleet/libexec
manifests=/var/svc/manifest/site
values=/etc/ipyfleet

changed=${CHANGED-}

# The instances of a service; fails when SMF does not know it.
instances() {
    svccfg -s "svc:/site/$1" list 2>/dev/null
}

# import NAME...
import() {
    for one in "$@"; do
        if [ -n "$changed" ] || ! instances "$one" >/dev/null; then
            svccfg import "$manifests/$one.xml"
            changed=yes
        fi
    done
}

# add NAME INSTANCE...: those that are not there yet.
add() {
    service=$1
    shift
    there=" $(instances "$service" | tr '\n' ' ') "
    missing=
    for one in "$@"; do
        case $there in
        *" $one "*) ;;
        *) missing="$missing $one" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    for one in $missing; do
        echo "select svc:/site/$service"
        echo "add $one"
        echo "select svc:/site/$service:$one"
        echo refresh
    done | svccfg -f -
}

# What the service has been given, as lines; nothing when it was given nothing yet.
given() {
    "$libexec/smf-values" -c "svc:/site/$1" 2>/dev/null || :
}

# configure NAME: hand over its values, if it has any, and have its instances see them at their next start.
configure() {
    commands=$values/$1.svccfg
    [ -e "$commands" ] || return 0
    wanted=$(sed -n 's/^# //p' "$commands")
    had=$(given "$1")
    if [ "$had" = "$wanted" ] && [ -e "$values/$1.configured" ]; then
        return 0
    fi
    changed=yes
    rm -f "$values/$1.configured"
    if [ "$had" != "$wanted" ]; then
        {
            if svcprop -c -q -p config "svc:/site/$1"; then
                echo "delpg config" # it may be there without any value
            fi
            cat "$commands"
        } | svccfg -s "svc:/site/$1" -f -
        if [ "$(given "$1")" != "$wanted" ]; then
            echo "SMF holds other values for $1 than it was given" >&2
            exit 1
        fi
    fi
    stale=
    for one in $(instances "$1"); do
        case $one in
        :*) ;; # the service's own properties
        *) stale="$stale svc:/site/$1:$one" ;;
        esac
    done
    # shellcheck disable=SC2086 # a list of services
    [ -z "$stale" ] || svcadm refresh $stale
}

# A restart does nothing to what does not run, and what is in maintenance comes up only by being cleared.
# bring_on start|restart FMRI...
bring_on() {
    aim=$1
    shift
    states=$(svcs -H -o STA,NSTA,FMRI "$@" 2>/dev/null) || : # svcadm tells of those that are not there
    svcadm enable "$@"
    faulty='' running=''
    while read -r state _ fmri; do
        case $state in
        MNT) faulty="$faulty $fmri" ;;
        ON | DGD) running="$running $fmri" ;;
        esac
    done <<END
$states
END
    for one in $faulty; do
        svcadm clear "$one" || : # just cleared by somebody else
    done
    if [ "$aim" = restart ] && [ -n "$running" ]; then
        # shellcheck disable=SC2086 # a list of services
        svcadm restart $running
    fi
}

# spelt NAME INSTANCE...: full names, since a short one may mean more than one service.
spelt() {
    service=$1
    shift
    for one in "$@"; do
        printf ' svc:/site/%s:%s' "$service" "$one"
    done
}

# start_all start|restart "ANEW..." "NAME..." INSTANCE...
start_all() {
    how=$1 anew=$2
    first=${3%% *} others=${3#"${3%% *}"}
    shift 3
    add "$first" "$@"
    all=$(spelt "$first" "$@")
    for one in $others; do
        all="$all svc:/site/$one:default"
    done
    # shellcheck disable=SC2086 # a list of services
    bring_on "$how" $all
    if [ "$how" = start ] && [ -n "$anew" ]; then
        # shellcheck disable=SC2046,SC2086 # lists of services
        bring_on restart $(spelt "$first" $anew)
    fi
}

# All are told first, then waited for: tasks end at the same time. (A function `stop` is a syntax error in ksh93.)
end_all() {
    found=$(svcs -H -o FMRI "$@" 2>/dev/null) || :
    [ -n "$found" ] || return 0
    # shellcheck disable=SC2086 # a list of services
    svcadm disable $found
    # A stop method that took too long ends in maintenance, which disabling once more ends.
    # shellcheck disable=SC2086
    svcadm disable -s $found || svcadm disable -s $found
}

# The last lines of the last start that left any, and SMF's lines on how it ended.
last_lines() {
    tail -n 2000 "$1" | awk -v most="$2" '
        { line[++n] = $0 }
        /^\[ .* Executing start method/ { before = last; last = n }
        END {
            from = last && n - last > 1 || !before ? last : before
            if (from < n - most + 1) from = n - most + 1
            for (i = from > 0 ? from : 1; i <= n; i++) print line[i]
        }'
}

verb=$1
shift
case $verb in
install)
    # shellcheck disable=SC2086 # a list of names
    import $1
    configure "${1%% *}"
    ;;
up)
    # shellcheck disable=SC2086
    import $2
    anew=$1 names=$2
    shift 2
    configure "${names%% *}"
    how=start
    [ -z "$changed" ] || how=restart
    start_all "$how" "$anew" "$names" "$@"
    ;;
configure)
    configure "$1"
    ;;
start | restart)
    start_all "$verb" '' "$@"
    ;;
clear)
    svcs -H -o STA,FMRI "$@" | while read -r state fmri; do
        [ "$state" != MNT ] || svcadm clear "$fmri"
    done
    ;;
stop)
    end_all "$@"
    ;;
remove)
    names=$1
    shift
    for one in $names; do
        end_all "svc:/site/$one:*"
        if instances "$one" >/dev/null; then
            svccfg delete -f "svc:/site/$one"
        fi
    done
    rm -rf -- "$@"
    ;;
look)
    waiting=$1
    shift
    svcs -H -o STA,NSTA,CTID,FMRI "$@" 2>/dev/null || : # those that are absent are not in it
    [ ! -e "$waiting" ] || echo waiting
    ;;
logs)
    lines=$1
    shift
    states=$(svcs -H -o STA,FMRI "$@" 2>/dev/null) || :
    if [ -z "$states" ]; then
        svcs -x "$@" 2>&1 || :
        exit 0
    fi
    faulty=$(printf '%s\n' "$states" | grep -v '^ON ') || :
    count=$(printf '%s\n' "${faulty:-$states}" | grep -c .)
    lines=$((lines / count))
    [ "$lines" -ge 5 ] || lines=5
    printf '%s\n' "${faulty:-$states}" | while read -r state fmri; do
        [ "$state" = ON ] || svcs -x "$fmri"
        log=$(svcs -L "$fmri")
        echo "$log:"
        [ ! -e "$log" ] || last_lines "$log" "$lines"
    done
    ;;
lease)
    case $(svcs -H -o STA "$2" 2>/dev/null) in
    ON*) [ ! -e "$1" ] || echo "$(cat "$1") $(date +%s)" ;;
    esac
    ;;
esac
