#!/bin/sh
# Start and stop the controller under SMF, as the service user.
#
#   controller-method start    keep the distance to the last controller, then become this one
#   controller-method stop     end all its processes: survivors would hold the ports
set -eu
umask 077

libexec=/opt/ipyfleet/libexec
run=$IPYFLEET_RUN
waiting=$run/waiting # as long as it is there, the service is online for SMF and not for us

case ${1-} in
start)
    mkdir -p "$run"
    "$libexec/smf-contract" succeed "$run/contract" 0
    IPYFLEET_VALUES=$run/values
    export IPYFLEET_VALUES
    "$libexec/smf-values" "$SMF_FMRI" >"$IPYFLEET_VALUES"
    : >"$waiting"
    "$libexec/controller-spacing" wait
    rm -f "$waiting"
    # Some six file descriptors an engine, and a process here begins with 256; running out of them is silent.
    # shellcheck disable=SC3045 # not in POSIX, but in ksh93
    ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -H -n)"
    exec "$libexec/controller-start"
    ;;
stop)
    contract=$(svcprop -p restarter/contract "$SMF_FMRI")
    pkill -TERM -c "$contract" || : # there is none any more
    "$libexec/smf-contract" clear "$contract" 20
    if [ ! -e "$waiting" ]; then
        "$libexec/controller-spacing" stopped
    fi
    rm -f "$waiting"
    ;;
*)
    echo "usage: controller-method start|stop" >&2
    exit 2
    ;;
esac
