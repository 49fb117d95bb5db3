#!/bin/sh
# Take off a machine what is its own and no other's, so that an image can be made of it: the last thing before it is
# switched off. What stays is the system with its packages, the service user and the software.
#
#   clean-for-image.sh
#
# Runs as root, any number of times. Afterwards nobody can log in any more; open connections stay.
set -eu

root=${IPYFLEET_ROOT:-} # another root than the machine's, for tests

# The lease of this machine: one that is made of the image has one of its own, or none.
rm -rf "$root/etc/systemd/system/ipyfleet-lease.timer.d"
for unit in ipyfleet-lease.service ipyfleet-lease.timer; do
    rm -f "$root/etc/systemd/system/$unit" "$root/etc/systemd/system/"*".wants/$unit"
done
rm -f "$root/etc/ipyfleet/ipyfleet-lease.values"

# Keys, public and private, of the machine and of who may log in.
rm -f "$root/etc/ssh/"ssh_host_*_key "$root/etc/ssh/"ssh_host_*_key.pub "$root/etc/ssh/"ssh_host_*_key.new
rm -f "$root/etc/cloud/cloud.cfg.d/99-ipyfleet.cfg"
for home in "$root/root" "$root/home/"*; do
    rm -f "$home/.ssh/authorized_keys" "$home/.bash_history"
done

# Who it is: systemd makes an id for a machine whose file is empty.
if [ -e "$root/etc/machine-id" ]; then
    : >"$root/etc/machine-id"
fi
[ -L "$root/var/lib/dbus/machine-id" ] || rm -f "$root/var/lib/dbus/machine-id"
rm -f "$root/var/lib/systemd/random-seed" "$root/var/lib/systemd/credential.secret"

# What cloud-init was told and did, in which the private half of a host key is. Not by `cloud-init clean`, which leaves
# more or less depending on its version.
cloud=$root/var/lib/cloud
if [ -d "$cloud/instance/" ]; then
    find "$cloud/instance/" -mindepth 1 -delete
fi
rm -rf "$cloud/instances" "$cloud/data" "$cloud/sem"
rm -f "$root/var/log/cloud-init.log" "$root/var/log/cloud-init-output.log"
rm -rf "$root/var/log/journal/"*

# What only takes space.
rm -rf "$root/var/cache/apt/archives/"*.deb "$root/opt/ipyfleet/wheels"
sync
