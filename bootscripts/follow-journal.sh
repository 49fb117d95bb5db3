#!/bin/sh
# Write what units write, as it comes, until standard input ends, which it does with the connection: nothing stays behind.
#
#   follow-journal.sh WORD...     further words for journalctl: units, how many lines before the new ones
set -eu

exec 3<&0
journalctl --follow "$@" </dev/null 3<&- &
follower=$!
{
    while read -r _; do :; done
    kill "$follower"
} <&3 >/dev/null 2>&1 &
watcher=$!
code=0
wait "$follower" || code=$?
kill "$watcher" 2>/dev/null || :
exit "$code"
