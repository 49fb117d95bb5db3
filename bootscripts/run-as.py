"""Become another user and run a command as him, for at most so many seconds.

    run-as.py USER SECONDS COMMAND...

For hosts without runuser: illumos' own `su` needs a user who may log in. Run by root, with `python -I`.
"""

from __future__ import annotations

import os
import pwd
import signal
import sys

if __name__ == "__main__":
    user, seconds, *command = sys.argv[1:]
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ |= {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user}
    os.umask(0o077)
    signal.alarm(int(seconds))  # it goes on counting when the command has taken this process over
    os.execvp(command[0], command)  # noqa: S606  (root's own scripts name the command)
