#!/bin/sh
# Take everything of the project off a host: the undoing of host.sh and software.sh, after the services are removed.
#
#   forget.sh
#
# Runs as root, any number of times. /etc/ipyfleet, which says whose host this is, goes last: killed before, the host
# is still known to be the cluster's.
set -eu

user=ipyparallel
home=/var/lib/ipyparallel
note=/etc/ipyfleet/user-made
PATH=/usr/xpg4/bin:$PATH:/usr/sbin:/sbin # what POSIX says, where illumos has its own

if [ "$(id -u)" -ne 0 ]; then
    echo "forget.sh: must run as root" >&2
    exit 1
fi

if [ -e "$note" ]; then
    if getent passwd "$user" >/dev/null && ! userdel "$user"; then
        echo "forget.sh: processes of user $user still run (see: ps -u $user); end them and try again" >&2
        exit 1
    fi
    if grep group "$note" >/dev/null && getent group "$user" >/dev/null; then
        groupdel "$user"
    fi
    rm -rf "$home"
else
    rm -f "$home"/.ipython/profile_default/security/ipcontroller-*.json
fi

rm -rf /opt/ipyfleet /etc/profile.d/ipyfleet.sh
rm -rf /etc/ipyfleet
