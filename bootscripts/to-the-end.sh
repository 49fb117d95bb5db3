#!/bin/sh
# Runs the command that the arguments are, then reads standard input to its end, whatever the command left of it. For a
# client that must not be hung up on while it still sends: OpenSSH ends the whole connection on data for a channel that
# has just been closed.
"$@"
code=$?
cat >/dev/null
exit "$code"
