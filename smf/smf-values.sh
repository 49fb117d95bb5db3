#!/bin/sh
# Print the values that a service was given, one "KEY VALUE" a line, as they stand in the .values files under systemd.
#
#   smf-values FMRI         those of an instance that a start of it gets: its running snapshot
#   smf-values -c FMRI      those that were written last
#
# They are the property group "config": keys in order, the values of a key in their own. What svcprop prints has a
# backslash before each special character, and two quotes for the empty string. No shell reads the values here: svcprop
# leaves $, * and others as they are.
set -eu

LC_ALL=C
export LC_ALL

printed=$(svcprop ${2+"$1"} -p config "${2-$1}")
printf '%s\n' "$printed" | sort | awk '
    # PROPERTY TYPE VALUE...
    NF > 0 {
        sub(/^config\//, "")
        key = $1
        rest = $0
        sub(/^[^ ]* [^ ]*/, "", rest) # each value begins with a blank now
        value = ""; begun = 0; quoted = 0
        for (i = 1; i <= length(rest); i++) {
            c = substr(rest, i, 1)
            if (c == "\\") {
                i++
                value = value substr(rest, i, 1)
            } else if (c == " ") {
                if (begun) print key " " value
                value = ""; begun = 0
                # two blanks and a blank at the end are no values
                next_one = substr(rest, i + 1, 1)
                if (next_one != "" && next_one != " ") begun = 1
            } else if (c != "\"") { # a quote of a value has its backslash; these are the empty value
                value = value c
            }
        }
        if (begun) print key " " value
    }'
