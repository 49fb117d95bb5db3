#!/bin/sh
# What is in the logs of SMF's services, as root: sent to the host, never installed there.
#
#   log-lines.sh past LINES SINCE PATTERN...      the last lines of each log
#   log-lines.sh follow LINES SINCE PATTERN...    the same, then what comes, until standard input ends, which it does
#                                                 with the connection: nothing stays behind
#
# LINES is a number or "all"; lines older than SINCE seconds are left out, if it is not "". A line without a time is as
# old as the one before it. Of lines before the first time nobody knows how old they are: they are shown, and told of,
# unless the ones after them are too old already. Times are the machine's wall clock: one that was set since misleads.
# startd's own have no year: theirs is the last one in which they are not in the future.
set -euf # no pattern of SMF is for the shell

PATH=/usr/xpg4/bin:$PATH:/usr/sbin:/usr/bin:/sbin:/bin # what POSIX says, where illumos has its own
LC_ALL=C
export LC_ALL

verb=$1 lines=$2 since=$3
shift 3

# young LOG: those lines of standard input that are not too old.
young() {
    older=
    [ ! -e "$1.0" ] || older=$1.0
    awk -v since="$since" -v older="$older" -v now="$(date '+%Y %m %d %H %M %S')" '
        function at(year, month, day, hour, minute, second) {
            if (month < 3) { year--; month += 12 }
            day += 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int((153 * (month - 3) + 2) / 5)
            return ((day * 24 + hour) * 60 + minute) * 60 + second
        }
        function early(   i) {
            if (unknown) print "(how old the lines up to the next remark are cannot be known: they have no time)"
            for (i = 1; i <= unknown; i++) print line[i]
            if (unknown && timed) print "(from here on lines have a time)"
        }
        function seen(when) {
            young = present - when <= since
            if (!timed++ && young) {
                if (older) print "(lines before these may be in " older ", which is not looked at)"
                early()
            }
        }
        BEGIN { split(now, n, " "); present = at(n[1] + 0, n[2] + 0, n[3] + 0, n[4] + 0, n[5] + 0, n[6] + 0) }
        /^\[ [A-Z][a-z][a-z] [ 0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9] / {
            month = (index("JanFebMarAprMayJunJulAugSepOctNovDec", substr($0, 3, 3)) + 2) / 3
            hour = substr($0, 10, 2) + 0; minute = substr($0, 13, 2) + 0; second = substr($0, 16, 2) + 0
            when = at(n[1] + 0, month, substr($0, 7, 2) + 0, hour, minute, second)
            if (when > present + 86400) when = at(n[1] - 1, month, substr($0, 7, 2) + 0, hour, minute, second)
            seen(when)
        }
        /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9]/ {
            seen(at(substr($0, 1, 4) + 0, substr($0, 6, 2) + 0, substr($0, 9, 2) + 0, substr($0, 12, 2) + 0, \
                substr($0, 15, 2) + 0, substr($0, 18, 2) + 0))
        }
        !timed { line[++unknown] = $0; next }
        young { print }
        END { if (!timed) early() }'
}

# chosen LOG: of standard input, which is that log, the lines that are asked for.
chosen() {
    if [ -n "$since" ]; then
        young "$1"
    else
        cat
    fi | if [ "$lines" = all ]; then
        cat
    else
        tail -n "$lines"
    fi
}

exec 3<&0
found=$(svcs -H -o FMRI "$@" 2>/dev/null) || : # those that are absent are not in it
followers=
for fmri in $found; do
    log=$(svcs -L "$fmri")
    if [ ! -e "$log" ]; then
        echo "$log: there is none yet"
        continue
    fi
    case $verb in
    past)
        echo "$log:"
        # shellcheck disable=SC2094 # its name is needed, nothing is written
        chosen "$log" <"$log"
        ;;
    follow)
        there=$(($(wc -l <"$log")))
        if [ "$there" -gt 0 ] && [ "$lines" != 0 ]; then
            head -n "$there" "$log" | chosen "$log"
        fi
        tail -f -n "+$((there + 1))" "$log" </dev/null 3<&- &
        followers="$followers $!"
        ;;
    esac
done
if [ -z "$found" ]; then
    svcs -x "$@" 2>&1 || :
fi
[ "$verb" = follow ] || exit 0
if [ -z "$followers" ]; then
    echo "no service of these has a log" >&2
    exit 1
fi
{
    while read -r _; do :; done
    # shellcheck disable=SC2086 # a list of processes
    kill $followers
} <&3 >/dev/null 2>&1 &
watcher=$!
code=0
# shellcheck disable=SC2086
wait $followers || code=$?
kill "$watcher" 2>/dev/null || :
exit "$code"
