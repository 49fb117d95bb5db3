#!/bin/sh
# What a test run could leave behind on this computer, one thing a line, sorted: to be compared before and after a run.
# It asks the kernel and nothing of the project, so that a mistake there cannot hide what it left.
set -eu

links() { for one in /sys/class/net/*; do echo "network interface ${one##*/}"; done; }
namespaces() { for one in /run/netns/*; do [ -e "$one" ] && echo "network namespace $one"; done; }
routes() { command -v ip >/dev/null && ip route show table all type unreachable | sed 's/^/route /'; }
# The first network namespace makes /run/netns a mount, and it stays one.
mounts() { awk '$2 != "/run/netns" { print "mount " $2 }' /proc/self/mounts; }

# The trees that systemd-nspawn needs; others (memory) belong to whoever started this run.
cgroups() {
    for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
        [ -e "$tree/cgroup.procs" ] && find "$tree" -mindepth 1 -type d | sed 's/^/control group /'
    done
}

# Machines, tunnels, and whatever a test started: pytest tells its children which test is running.
processes() {
    for one in /proc/[0-9]*; do
        words=$(tr '\0' ' ' <"$one/cmdline") || continue
        case $words in
        *systemd-nspawn\ * | ssh\ -N\ * | */ssh\ -N\ *) ;;
        *) grep -qz '^PYTEST_CURRENT_TEST=' "$one/environ" || continue ;;
        esac
        echo "process ${one##*/} $words"
    done 2>/dev/null
}

files() {
    for folder in /var/lib/ipyfleet/clusters /run/systemd/nspawn/propagate "${XDG_STATE_HOME:-$HOME/.local/state}/ipyfleet"; do
        [ -d "$folder" ] && find "$folder" -mindepth 1 -maxdepth 1 -printf 'folder %p\n'
    done
    find "$HOME"/.ipython/profile_*/security -name '*.json' -printf 'connection file %p\n' 2>/dev/null
}

for kind in links namespaces routes mounts cgroups processes files; do
    $kind || true
done | LC_ALL=C sort
