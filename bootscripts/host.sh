#!/bin/sh
# Make a host ready for the services: their user with its home, and the folders that everything else is put into.
#
#   host.sh
#
# Runs as root, any number of times: in an image build, at a machine's first boot, or by hand. A user "ipyparallel"
# that the host already has is used when its home is ours; one that is made here is noted in /etc/ipyfleet/user-made,
# so that forget.sh removes no user of the host's own; a group that is made by itself is noted in it.
set -eu
umask 022
PATH=/usr/xpg4/bin:$PATH:/usr/sbin:/sbin # what POSIX says, where illumos has its own

user=ipyparallel
home=/var/lib/ipyparallel
note=/etc/ipyfleet/user-made

if [ "$(id -u)" -ne 0 ]; then
    echo "host.sh: must run as root" >&2
    exit 1
fi

mkdir -p /opt/ipyfleet/libexec /opt/ipyfleet/packages /etc/ipyfleet

# make passwd|group COMMAND...: a host that is two machines of a cluster runs this twice at the same time, and whoever
# comes second finds it there, or the file locked.
make() {
    kind=$1
    shift
    tries=20
    until said=$("$@" 2>&1) || getent "$kind" "$user" >/dev/null; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ]; then
            echo "$said" >&2
            exit 1
        fi
        sleep 0.5
    done
}

if entry=$(getent passwd "$user"); then
    if [ "$(printf '%s\n' "$entry" | cut -d: -f6)" != "$home" ]; then
        echo "host.sh: this host has a user $user of its own, whose home is not $home; rename it or use another host" >&2
        exit 1
    fi
else
    : >>"$note" # before the user: killed in between, a note too many does no harm, a user too many would stay for good
    if [ "$(uname -s)" = SunOS ]; then
        if ! getent group "$user" >/dev/null; then
            echo group >"$note"
            make group groupadd "$user"
        fi
        make passwd useradd -g "$user" -d "$home" -s /usr/bin/false "$user"
    else
        make passwd useradd --system --user-group --home-dir "$home" --no-create-home --shell /usr/sbin/nologin "$user"
    fi
fi

mkdir -p "$home"
chown "$user:$(id -gn "$user")" "$home"
chmod 0750 "$home"
