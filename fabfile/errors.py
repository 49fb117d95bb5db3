"""What can go wrong, told so that a person knows the next step.

Each error says what was tried, on which machine, what was seen there (the last lines it wrote) and what to do next;
its class decides the exit code. Knows nothing of the rest of the project.
"""

from __future__ import annotations

import re

ADVISED = (
    r"`invoke (?:provision|status|teardown|stop|start|restart|renew|connect|shell|console|doctor|logs|ssh(?!-)"
    r"|run|put|get|(?:hooks|packages|step)\.[a-z]+)\b(?! --cluster)"
)
OF_A_PROVIDER = (
    r"`invoke (?:provision|status|teardown|stop|start|renew|console|clusters|regions|zones|types|prices|sweep"
    r"|doctor|logs|ssh(?!-)|run|put|get|(?:hooks|images|keys|packages|step)\.[a-z]+)\b(?![^`]* --template)"
)


class ClusterError(Exception):
    """Something failed in a way that the user can act upon; exit code 1.

    ``message`` says what was tried and where, ``seen`` holds the last lines of the program or machine that failed,
    ``hint`` the next step: a sentence, ideally with a command to type.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", seen: str = "", machine: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.seen = seen.strip()
        self.machine = machine

    def __str__(self) -> str:
        where = f"{self.machine}: " if self.machine and not self.message.startswith(self.machine) else ""
        lines = [where + self.message]
        if self.seen:
            lines += [f"  | {line}" for line in self.seen.splitlines()[-20:]]
        if self.hint:
            lines.append(f"  next: {self.hint}")
        return "\n".join(lines)


class UsageError(ClusterError):
    """The command or the settings cannot mean anything, or need a confirmation that nobody can give; exit code 2."""

    exit_code = 2


class NoSuchCluster(ClusterError):
    """There is no cluster of that name here; exit code 3."""

    exit_code = 3


class ProviderRefused(ClusterError):
    """The provider will not or cannot give what was asked: credentials, quota, capacity, disk, network; exit code 4."""

    exit_code = 4


class Interrupted(ClusterError):
    """Stopped by the user at a safe point; exit code 130."""

    exit_code = 130


class Locked(ClusterError):
    """Another command is changing this cluster right now; exit code 1."""


class RemoteError(ClusterError):
    """A machine could not be reached, or a command on it failed; exit code 1."""


class HostKeyError(RemoteError):
    """A machine showed a host key that is unknown or not the pinned one; never retried, exit code 1."""


class ServiceFailed(ClusterError):
    """A service is in maintenance, absent, or did not come up in time; exit code 1."""


class HubSilent(ClusterError):
    """The hub did not answer in time; exit code 1."""


class Several(ClusterError):
    """Several failures of one step, one after the other; the exit code is the gravest of them (the highest)."""

    def __init__(self, failures: list[ClusterError]) -> None:
        super().__init__("\n".join(str(failure) for failure in failures))
        self.failures = failures
        self.exit_code = max((failure.exit_code for failure in failures), default=1)


def at_machine(error: Exception, machine: str) -> ClusterError:
    """The error with the machine it happened on; an exception that is none of ours is a bug and raised as it is."""
    if not isinstance(error, ClusterError):
        raise error
    error.machine = error.machine or machine
    return error


def raise_together(failures: list[ClusterError]) -> None:
    """Raise the failures as one error: none → nothing, one → itself, more → Several."""
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise Several(failures)


def addressed(text: str, cluster: str | None, template: str | None = None) -> str:
    """The text with every command that it advises meant for the cluster and template that this one was given by name.

    Without its template a command for a cluster that is in no record would mean another provider.
    """
    text = re.sub(ADVISED, lambda found: f"{found[0]} --cluster {cluster}", text) if cluster else text
    return re.sub(OF_A_PROVIDER, lambda found: f"{found[0]} --template {template}", text) if template else text
