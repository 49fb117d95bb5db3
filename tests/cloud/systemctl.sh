#!/bin/sh
# In place of systemctl on a machine whose first process is its sshd.
while [ $# -gt 0 ]; do
    case $1 in
    -*) shift ;;
    *) break ;;
    esac
done
case "${1-} ${2-}" in
"reload ssh" | "reload sshd" | "reload ssh.service" | "try-reload-or-restart ssh" | "reload-or-restart ssh" | \
    "restart ssh" | "restart ssh.service" | "restart sshd")
    exec kill -HUP 1
    ;;
"poweroff "* | "halt "* | "reboot "*)
    exec kill -TERM 1
    ;;
"daemon-reload "* | "is-system-running "* | "is-active ssh" | "is-active ssh.service")
    exit 0
    ;;
esac
echo "System has not been booted with systemd as init system (PID 1). Can't operate." >&2
exit 1
