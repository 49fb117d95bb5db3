#!/bin/sh
# Puts files in place as root. Standard input is a tar archive: `list` has one line a file, `number mode owner path`
# (the path last, spaces and all), and each file's content is the member named by its number, owned by root, mode 0600.
# A file is complete, with its mode and owner, before anybody can see it, and replaces the old one by a rename; it stays
# untouched when content, mode and owner are right already. Prints the paths that changed. Only tools that POSIX has,
# and mktemp: this runs on illumos and busybox, too.
set -eu
umask 077
stage=$(mktemp -d "${TMPDIR:-/var/tmp}/ipyfleet.XXXXXX")
trap 'rm -rf "$stage"' EXIT
trap 'exit 143' HUP INT TERM
cd "$stage"
tar -xmf - # m: of now, or systemd would not see that a unit has changed

while IFS= read -r line; do
    number=${line%% *} line=${line#* }
    mode=${line%% *} line=${line#* }
    owner=${line%% *} path=${line#* }
    if [ -d "$path" ]; then
        echo "$path is a directory, a file was to go there" >&2
        exit 1
    fi
    [ "$owner" = root:root ] || chown "$owner" "$number"
    [ "$mode" = 0600 ] || chmod "$mode" "$number"
    if [ -f "$path" ] && [ ! -h "$path" ] && cmp -s "$number" "$path"; then
        # Two lines, alike in mode, owner and group when these are; SELinux and ACLs add a mark to the mode.
        wanted="" there=""
        while read -r bits _ user group _; do
            there=$wanted
            wanted="${bits%[.+@]} $user $group"
        done <<END
$(ls -ldn "$number" "$path")
END
        [ "$wanted" != "$there" ] || continue
    fi
    directory=${path%/*}
    [ -d "$directory/" ] || (umask 022 && mkdir -p "$directory")
    # The new file may have to cross file systems, so it goes beside the old one first: only a rename is atomic.
    new="$directory/.ipyfleet-new-$$-$number"
    trap 'rm -rf "$stage" "$new"' EXIT
    mv -f "$number" "$new"
    mv -f "$new" "$path"
    printf '%s\n' "$path"
done <list
