#!/bin/sh
# Be a machine: this computer's own files, with all changes kept in a folder of its own, and one sshd.
#
#   machine.sh DISK NAME SSHD      in mount, process and name spaces of its own; ends as sshd
set -eu
disk=$1 name=$2 sshd=$3
root=$disk/root

mount -t overlay "$name" -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=0755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mkdir "$root/run/sshd"
cp -R "$disk/run/." "$root/run/"
hostname "$name"
first=/run/cloud-init/first-boot.sh
if [ -e "$root$first" ]; then
    chroot "$root" sh "$first" &
fi
exec chroot "$root" "$sshd" -D -e -f /etc/ssh/sshd_config
