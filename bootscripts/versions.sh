#!/bin/sh
# What a host is and has, for a bug report; changes nothing and needs no special rights.
#
#   versions.sh
set -u

show() {
    echo "\$ $*"
    "$@" 2>&1 || echo "(exit code $?)"
}

show date
show uname -a
for file in /etc/os-release /etc/release /etc/product; do
    [ ! -r "$file" ] || show cat "$file"
done
show uptime
show df -k / /opt /var
if command -v free >/dev/null 2>&1; then
    show free -m
else
    show vmstat 1 2
fi
show ssh -V
if command -v systemctl >/dev/null 2>&1; then
    show systemctl --version
fi
if [ -x /opt/ipyfleet/env/bin/python ]; then
    show /opt/ipyfleet/env/bin/python -VV
    echo "packages of ipyfleet's environment:"
    for folder in /opt/ipyfleet/env/lib/python3*/site-packages/*.dist-info; do
        basename "$folder" .dist-info
    done
fi
