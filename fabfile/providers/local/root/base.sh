#!/bin/sh
# Make a freshly unpacked Debian or Ubuntu a base for machines; runs in it, as root, while the image is built.
set -eu
umask 022

# The login user. Nobody knows a password; keys are put in per machine.
useradd --uid 1000 --user-group --create-home --shell /bin/bash ipyfleet
install -d -m 0700 -o ipyfleet -g ipyfleet /home/ipyfleet/.ssh
echo 'ipyfleet ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/ipyfleet
chmod 0440 /etc/sudoers.d/ipyfleet

# Every machine gets a host key of its own before it boots, and makes an id of its own when it does.
rm -f /etc/ssh/ssh_host_*
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id

cat >/etc/ssh/sshd_config.d/10-ipyfleet.conf <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UseDNS no
PrintMotd no
# Many connections at once are our own; the default drops some of them at random.
MaxStartups 100:30:200
MaxSessions 100
END
chmod 0644 /etc/ssh/sshd_config.d/10-ipyfleet.conf
# /etc/hosts knows every machine of a cluster, and there is no other network to ask.
sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf
rm -f /etc/resolv.conf

systemctl enable systemd-networkd.service ssh.service
# Nothing that waits, asks, updates or speaks to a network that is not there: a machine boots in about a second.
systemctl mask \
    apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
    console-getty.service container-getty@.service getty@.service getty.target serial-getty@.service \
    dpkg-db-backup.timer e2scrub_all.timer fstrim.timer logrotate.timer man-db.timer motd-news.timer \
    dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount \
    sys-kernel-debug.mount sys-kernel-tracing.mount \
    ssh.socket sshd-keygen.service systemd-networkd-wait-online.service systemd-resolved.service \
    systemd-timesyncd.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    systemd-firstboot.service systemd-hwdb-update.service ldconfig.service systemd-journal-catalog-update.service \
    systemd-network-generator.service systemd-pcrphase.service systemd-pcrphase-sysinit.service

# Everything is as it shall be: no unit needs to bring /etc or /var up to date at the first boot.
touch -r /usr /etc/.updated /var/.updated
