#!/bin/sh
# What a SmartOS machine does at each boot, as its user-script: the lease armed, our keys let in, its host key published,
# and at the first boot a script of the user's own. What it prints is in the log of svc:/smartdc/mdata:execute.
#
# Reads its metadata: ipyfleet.lease (seconds, or nothing), ipyfleet.authorized_keys, ipyfleet.userdata, and
# ipyfleet.join_method with ipyfleet.join_manifest: a service that waits until the machine is told to join a cluster.
# Writes ipyfleet.host_key, for everybody who may read the machine through CloudAPI. Runs as root, any number of times,
# and has 300 s, of which it takes a few: https://docs.smartos.org/ says what runs it.
set -eu
umask 077

PATH=/usr/xpg4/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/local/bin:/opt/local/sbin
HOME=/root
export PATH HOME

folder=/var/db/ipyfleet
run=/var/run/ipyfleet
patience=120 # s until sshd must have made its host key

mkdir -p "$folder" "$run"

# value KEY: the metadata of that name; nothing where there is none. Not being able to tell is a failure: without a lease
# or keys it would look well.
value() {
    for _ in 1 2 3 4 5; do
        code=0
        mdata-get "$1" 2>/dev/null || code=$?
        case $code in
        0 | 1) return 0 ;; # 1: there is none
        esac
        sleep 1
    done
    echo "smartos-boot: mdata-get $1 failed with $code" >&2
    return 1
}

# An image that was made of one of our machines has its marks, its keys and its lease: none of them is this machine's.
uuid=$(value sdc:uuid)
if [ "$(cat "$folder/uuid" 2>/dev/null || :)" != "$uuid" ]; then
    if [ -e "$folder/uuid" ]; then
        rm -f "$folder/userdata-ran" "$folder/joined" "$HOME/.ssh/authorized_keys"
        svccfg delete -f svc:/site/ipyfleet-lease 2>/dev/null || :
    fi
    echo "$uuid" >"$folder/uuid"
fi

# The lease first, so that whatever fails below leaves no machine that runs for ever. Once the machine has the service
# ipyfleet-lease, and it runs, that counts, from each boot anew; until then this does. Whoever takes lease.pid away ends
# it. It is in a contract of its own, or it would be killed with this script when that takes longer than 300 s.
lease=$(value ipyfleet.lease)
timer=$run/lease.pid
counts() {
    case $(svcs -H -o STA svc:/site/ipyfleet-lease:default 2>/dev/null) in
    ON* | OFF*) return 0 ;;
    esac
    return 1
}
if [ -n "$lease" ] && ! kill -0 "$(cat "$timer" 2>/dev/null)" 2>/dev/null && ! counts; then
    cat >"$folder/lease-timer" <<'END'
#!/bin/sh
# lease-timer SECONDS PIDFILE: power off after so many seconds, unless PIDFILE is taken away.
trap '' HUP
exec >/dev/null 2>&1 </dev/null
left=$1
echo $$ >"$2"
while [ -e "$2" ]; do
    [ "$left" -gt 0 ] || exec poweroff
    step=60
    [ "$left" -ge "$step" ] || step=$left
    sleep "$step"
    left=$((left - step))
done
END
    chmod 0700 "$folder/lease-timer"
    if command -v ctrun >/dev/null; then
        ctrun -l none "$folder/lease-timer" "$lease" "$timer"
    else
        "$folder/lease-timer" "$lease" "$timer" &
    fi
    until [ -s "$timer" ]; do # its own number comes from itself
        sleep 0.1
    done
    echo "smartos-boot: powers off in $lease s"
fi

mkdir -p "$HOME/.ssh"
value ipyfleet.authorized_keys >"$folder/authorized_keys"
touch "$HOME/.ssh/authorized_keys"
while IFS= read -r key; do
    grep -F -x -e "$key" "$HOME/.ssh/authorized_keys" >/dev/null || echo "$key" >>"$HOME/.ssh/authorized_keys"
done <"$folder/authorized_keys"
chmod 0700 "$HOME/.ssh" # sshd believes no file that others may write
chmod 0600 "$HOME/.ssh/authorized_keys"

published=
while [ -z "$published" ]; do
    for key in /var/ssh/ssh_host_ed25519_key.pub /etc/ssh/ssh_host_ed25519_key.pub /var/ssh/ssh_host_rsa_key.pub \
        /etc/ssh/ssh_host_rsa_key.pub; do
        [ -s "$key" ] || continue
        published=$(cut -d ' ' -f 1,2 "$key")
        break
    done
    [ -z "$published" ] || break
    patience=$((patience - 1))
    if [ "$patience" -eq 0 ]; then
        echo "smartos-boot: sshd has made no host key below /var/ssh or /etc/ssh" >&2
        exit 1
    fi
    sleep 1
done
if [ "$(value ipyfleet.host_key)" != "$published" ]; then
    mdata-put ipyfleet.host_key "$published"
fi
echo "smartos-boot: host key published"

if [ ! -e "$folder/userdata-ran" ] && mdata-get ipyfleet.userdata >"$folder/userdata" 2>/dev/null; then
    chmod 0700 "$folder/userdata"
    echo "smartos-boot: running the user's own script"
    if ! "$folder/userdata" </dev/null; then
        echo "smartos-boot: the script of \`userdata\` failed" >&2
        exit 1
    fi
    : >"$folder/userdata-ran"
fi

# Last, so that what the user's own script sets up, such as another index of packages, is there before.
manifest=/var/svc/manifest/site/ipyfleet-join.xml
if mdata-get ipyfleet.join_method >"$folder/join-method.new" 2>/dev/null; then
    chmod 0700 "$folder/join-method.new"
    mv "$folder/join-method.new" "$folder/join-method"
    mkdir -p "${manifest%/*}"
    value ipyfleet.join_manifest >"$manifest"
    svccfg import "$manifest"
    echo "smartos-boot: waits to be told which cluster to join"
else
    rm -f "$folder/join-method.new"
fi
echo "smartos-boot: done"
