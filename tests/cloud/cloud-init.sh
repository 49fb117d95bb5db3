#!/bin/sh
# In place of cloud-init on a machine: the command `status` over what a first boot left.
result=/run/cloud-init/result.json
if [ "${1-}" != status ]; then
    echo "usage: cloud-init status [--wait] [--long] [--format json]" >&2
    exit 2
fi
case " $* " in
*" --wait "*) while [ ! -e "$result" ]; do sleep 0.1; done ;;
esac
state=running code=0
[ -e "$result" ] && state="done"
grep -q '"errors": \[\]' "$result" 2>/dev/null || { [ "$state" = running ] || { state=error code=1; }; }
case " $* " in
*json*) printf '{"status": "%s", "boot_status_code": "enabled-by-generator", "detail": ""}\n' "$state" ;;
*) echo "status: $state" ;;
esac
exit $code
