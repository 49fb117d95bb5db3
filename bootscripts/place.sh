#!/bin/sh
# Puts files in place as root. Standard input is a tar archive: `list` has one line a file, `number owner path` (the path
# last, spaces and all); each file's content and mode are those of the member named by its number, owned by root.
# A file is complete, with its mode and owner, before anybody can see it, and replaces the old one by a rename; it stays
# untouched when content, mode and owner are right already. Prints the paths that changed. Few processes, since many
# hosts may share a computer; only tools that POSIX has, and mktemp: this runs on illumos and busybox, too.
set -eu
umask 077
stage=$(mktemp -d "${TMPDIR:-/var/tmp}/ipyfleet.XXXXXX")
trap 'rm -rf "$stage"' EXIT
trap 'exit 143' HUP INT TERM
cd "$stage"
tar -xpf -

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

folder=
while IFS= read -r line; do
    number=${line%% *} line=${line#* }
    owner=${line%% *} path=${line#* }
    if [ -d "$path" ]; then
        echo "$path is a directory, a file was to go there" >&2
        exit 1
    fi
    [ "$owner" = root:root ] || chown "$owner" "$number"
    if [ -f "$path" ] && [ ! -h "$path" ] && cmp -s "$number" "$path" && alike "$number" "$path"; then
        continue
    fi
    if [ "$folder" != "${path%/*}/" ]; then
        folder=${path%/*}/
        [ -d "$folder" ] || (umask 022 && mkdir -p "$folder")
        if near "$folder"; then hop=; else hop=yes; fi
    fi
    new=$number
    if [ "$hop" ]; then
        new=$folder.ipyfleet-new-$$-$number
        trap 'rm -rf "$stage" "$new"' EXIT
        mv -f "$number" "$new"
    fi
    mv -f "$new" "$path"
    printf '%s\n' "$path"
done <list
