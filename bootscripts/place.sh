#!/bin/sh
# Puts files in place as root, and may have something done with them in the same round trip.
#
#   place.sh [ARGUMENT...] < ARCHIVE
#
# The tar archive on standard input has: `list`, one line a file, `number owner path` (the path last, spaces and all; the
# files of one folder stand together); each file as `number/name`, with its mode, owned by root. If there is a script
# `then`, it is run afterwards with the arguments, and CHANGED=yes in its environment when any file changed; what it
# prints goes to standard error. When it ends well, the files of `last` are put in place in the same way.
# A file is complete, with its mode and owner, before anybody can see it, and replaces the old one by a rename; it stays
# untouched when content, mode and owner are right already. Prints the paths that changed. Few processes, since many
# hosts may share a computer; only tools that POSIX has, and mktemp: this runs on illumos and busybox, too.
set -eu
umask 077
PATH=/usr/xpg4/bin:$PATH # what POSIX says, where illumos has its own
stage=$(mktemp -d "${TMPDIR:-/var/tmp}/ipyfleet.XXXXXX")
trap 'rm -rf "$stage"' EXIT
trap 'exit 143' HUP INT TERM
cd "$stage"
tar -xmpf - # -m: systemd knows a changed unit by its time, which must be this host's own

# Whether two files are alike in mode, owner and group; SELinux and ACLs add a mark to the mode that does not count.
alike() {
    # shellcheck disable=SC2012  # stat is not in POSIX, and of what ls prints no name is read
    ls -ldn "$1" "$2" | {
        read -r bits _ user group _
        one="${bits%[.+@]} $user $group"
        read -r bits _ user group _
        [ "$one" = "${bits%[.+@]} $user $group" ]
    }
}

# Whether a rename can lead from here into a folder: only within one mounted file system.
near() {
    df -P "$stage" "$1" | {
        read -r _
        read -r _ _ _ _ _ one
        read -r _ _ _ _ _ other
        [ "$one" = "$other" ] && [ "$one" != - ]
    }
}

# Whether who shall own the file owns the folder that we are in, too.
at_home() {
    # shellcheck disable=SC2012  # as above
    ls -ldn "$1" . | {
        read -r _ _ owner _
        read -r _ _ host _
        [ "$owner" = "$host" ]
    }
}

# Into a folder, which is made if need be; nobody can put another one in its place from now on.
enter() {
    folder=$1
    [ -d "$folder" ] || (umask 022 && mkdir -p "$folder")
    cd -P "$folder"
    if near .; then hop=; else hop=yes; fi
}

# Have these files, all for the folder that we are in, replace the old ones: one process for all of them.
settle() {
    [ $# -gt 0 ] || return 0
    if [ "$hop" ]; then
        beside=$PWD/.ipyfleet-new-$$
        trap 'rm -rf "$stage" "$beside"' EXIT
        mkdir "$beside"
        mv -f "$@" "$beside"
        for arrived in "$beside"/* "$beside"/.[!.]*; do
            [ ! -f "$arrived" ] || mv -f "$arrived" .
        done
        rmdir "$beside"
    else
        mv -f "$@" .
    fi
    printf '%s' "$told"
    told=
}

# put LIST: its files in place.
put() {
    list=$1
    set --
    folder='' told=''
    while IFS= read -r line; do
        number=${line%% *} line=${line#* }
        owner=${line%% *} path=${line#* }
        new=$stage/$number/${path##*/} name=./${path##*/}
        [ "$owner" = root:root ] || chown "$owner" "$new"
        if [ "$folder" != "${path%/*}/" ]; then
            settle "$@"
            set --
            enter "${path%/*}/"
        fi
        # Who may change his own folders could have made one of them a link to where only root may write.
        if [ "$owner" != root:root ] && [ "$PWD/" != "$folder" ] && ! at_home "$new"; then
            echo "$folder leads to $PWD, where $owner is not at home" >&2
            exit 1
        fi
        if [ -d "$name" ]; then
            echo "$path is a directory, a file was to go there" >&2
            exit 1
        fi
        if [ -f "$name" ] && [ ! -h "$name" ] && cmp -s "$new" "$name" && alike "$new" "$name"; then
            continue
        fi
        set -- "$@" "$new"
        changed=yes told="$told$path
"
    done <"$stage/$list"
    settle "$@"
}

changed=
put list
if [ -f "$stage/then" ]; then
    CHANGED=$changed sh "$stage/then" "$@" </dev/null >&2
    put last
fi
