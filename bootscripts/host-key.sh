#!/bin/sh
# Give a machine a host key of its own, in place of the one that it was booted with, which others may know; as root.
#
#   host-key.sh make OLD     print the public half, "type base64", of the key that shall replace OLD, made if need be
#   host-key.sh use          have sshd show that key from now on
#
# Two steps, so that between them whoever connects can note the new key beside the old one. Each may be repeated, and
# killed at any point. The old key is nowhere on the machine afterwards but in what it was booted with.
set -eu
umask 077

key=${IPYFLEET_HOST_KEY:-/etc/ssh/ssh_host_ed25519_key}
cloud=${IPYFLEET_CLOUD_CONFIG:-/etc/cloud/cloud.cfg.d}
new=$key.new

public() {
    ssh-keygen -y -f "$1" | cut -d ' ' -f 1,2
}

case ${1-} in
make)
    active=$(public "$key")
    if [ ! -e "$new" ] && [ "$active" = "$2" ]; then
        rm -f "$new.part" "$new.part.pub"
        ssh-keygen -q -t ed25519 -N '' -C '' -f "$new.part"
        sync "$new.part" # else a power cut could leave sshd with an empty one
        rm -f "$new.part.pub"
        mv "$new.part" "$new"
    fi
    if [ -e "$new" ]; then public "$new"; else echo "$active"; fi
    ;;
use)
    # A boot at which cloud-init cannot tell which machine this is would have new keys made.
    if [ -d "$cloud" ]; then
        echo 'ssh_deletekeys: false' >"$cloud/99-ipyfleet.cfg"
    fi
    if [ -e "$new" ]; then
        mv "$new" "$key"
    fi
    public "$key" >"$new.pub"
    chmod 0644 "$new.pub"
    mv "$new.pub" "$key.pub"
    # Connections stay. It may bear the other name, be one of many that a socket starts, or be restarted by cloud-init
    # just now: whether it shows the key is for the caller to see.
    systemctl reload ssh.service 2>/dev/null || systemctl reload sshd.service 2>/dev/null || :
    ;;
*)
    echo "usage: host-key.sh make OLD | use" >&2
    exit 2
    ;;
esac
