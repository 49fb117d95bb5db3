#!/bin/sh
# Say who has logged in here, a line each: name, numbers of user and group as UID:GID, home. His group may have a name
# with blanks, so that it is named by number.
set -eu
PATH=/usr/xpg4/bin:$PATH # what POSIX says, where illumos has its own

id -un
echo "$(id -u):$(id -g)"
echo "$HOME"
