#!/bin/sh
# Have this machine join a cluster by the kit that it is handed as metadata, once, as root, under SMF.
#
# Waits for the metadata ipyfleet.join (base64 of a tar file with gzip, which fabfile/kit.py makes), removes it from
# there as soon as it is read, since it holds a secret, and does its steps in their order. The metadata ipyfleet.joined
# then says "joined", or "failed" and the last lines of the step that did. At every later start it does nothing.
set -eu
umask 077
PATH=/opt/local/bin:/opt/local/sbin:/usr/xpg4/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

folder=/var/db/ipyfleet
note=$folder/joined
kit=$folder/kit
log=$folder/join.log

[ ! -e "$note" ] || exit 0

if [ ! -e "$folder/kit.tar" ]; then
    until mdata-get ipyfleet.join >"$folder/kit.text" 2>/dev/null && [ -s "$folder/kit.text" ]; do
        sleep 1
    done
    if command -v openssl >/dev/null; then
        tr -d '\n' <"$folder/kit.text" | openssl base64 -d -A >"$folder/kit.gz"
    else
        base64 -d <"$folder/kit.text" >"$folder/kit.gz"
    fi
    rm "$folder/kit.text"
    gzip -dc "$folder/kit.gz" >"$folder/kit.new"
    rm "$folder/kit.gz"
    mv "$folder/kit.new" "$folder/kit.tar"
    mdata-delete ipyfleet.join
fi

rm -rf "$kit"
mkdir "$kit"
cd "$kit"
tar -xof "$folder/kit.tar"
for step in [0-9]*; do
    echo "join: $(cut -c 1-100 "$step/line")"
    if ! sh "$step/line" <"$step/stdin" >"$log" 2>&1; then
        cat "$log"
        {
            echo failed
            tail -n 15 "$log"
        } | mdata-put ipyfleet.joined
        exit 95 # SMF's word for a failure that no retry mends
    fi
    cat "$log"
done
: >"$note"
rm -rf "$kit" "$folder/kit.tar" "$log"
mdata-put ipyfleet.joined joined
echo "join: done"
