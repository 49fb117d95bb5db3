#!/bin/sh
# Say what there is on a host, one NAME=VALUE a line; changes nothing and needs no special rights.
#
#   host-facts.sh MINOR        MINOR: the client's version of Python, like 3.11
#
# root: whether this login may do everything · python: the version that software.sh would use · pkgin: whether there is
# one, by which software-pkgsrc.sh gets a Python · manager: what runs services here · address: where the
# caller's connection arrived, an address of this host's own · owner: the cluster that has this host, as JSON.
set -eu

echo "system=$(uname -s)"
echo "machine=$(uname -m)"

PATH=/usr/xpg4/bin:$PATH # what POSIX says, where illumos has its own
if [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; then
    echo "root=yes"
else
    echo "root=no"
fi

# As in software.sh: a Python in a login's own folders would be out of the service user's reach.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
python=$(command -v "python$1" || command -v python3 || true)
if [ -n "$python" ]; then
    version=$("$python" -V 2>&1) # Python 3.11.2, told in a tenth of the time that a start takes
    minor=${version#Python }
    echo "python=${minor%.*}"
else
    echo "python="
fi

if [ -x /opt/local/bin/pkgin ]; then
    echo "pkgin=yes"
fi

if [ -x /usr/bin/svcs ] && [ -x /usr/sbin/svccfg ]; then
    echo "manager=smf"
elif [ -d /run/systemd/system ]; then
    echo "manager=systemd"
else
    echo "manager="
fi

read -r _ _ address _ <<END
${SSH_CONNECTION:-}
END
echo "address=$address"

echo "owner=$(cat /etc/ipyfleet/owner.json 2>/dev/null || true)"
