#!/bin/sh
# Start and stop engine number K of this machine under SMF, as the service user.
#
#   engine-method start engine-K    become it
#   engine-method stop engine-K     let its running task end, then clear away what it left
#
# SIGTERM goes to the engine alone: it finishes its task (for at most stop_timeout seconds), and its nanny then has 3 s
# to tell the hub; what is still there, such as the workers of a pool whose parent was killed, is killed.
set -eu
umask 077

libexec=/opt/ipyfleet/libexec
run=$IPYFLEET_RUN
number=${2#engine-}
grace=3

case ${1-} in
start)
    mkdir -p "$run"
    "$libexec/smf-contract" succeed "$run/ipengine@$number.contract" "$grace"
    IPYFLEET_VALUES=$run/ipengine@$number.values
    export IPYFLEET_VALUES
    "$libexec/smf-values" "$SMF_FMRI" >"$IPYFLEET_VALUES"
    # A process here begins with 256 file descriptors.
    # shellcheck disable=SC3045 # not in POSIX, but in ksh93
    ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -H -n)"
    exec "$libexec/engine-start" "$number"
    ;;
stop)
    contract=$(svcprop -p restarter/contract "$SMF_FMRI")
    engine=$(svcprop -p restarter/start_pid "$SMF_FMRI")
    limit=$("$libexec/smf-values" "$SMF_FMRI" | sed -n 's/^stop_timeout //p')

    # Not by its number alone, which may be another's by now.
    runs() {
        pgrep -c "$contract" | grep -qx "$engine"
    }

    if runs; then
        kill -s TERM "$engine" || :
    fi
    end=$(($(date +%s) + ${limit:-120})) # by the clock: what is done in between takes time as well
    while runs; do
        if [ "$(date +%s)" -ge "$end" ]; then
            echo "engine-method: engine $number did not end within ${limit:-120} s and is killed"
            kill -s KILL "$engine" || :
            break
        fi
        sleep 0.2
    done
    rm -f "$run/ipengine@$number.ident"
    "$libexec/smf-contract" clear "$contract" "$grace"
    ;;
*)
    echo "usage: engine-method start|stop engine-K" >&2
    exit 2
    ;;
esac
