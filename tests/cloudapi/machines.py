"""What stands behind an instance: on paper here; a later piece makes them real ones that answer SSH."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .vms import Vm


class MachineFailed(Exception):
    """A machine cannot do what it should, as a test wants it to; any other exception makes the test fail in the end."""


class Machine(Protocol):
    """A machine behind an instance; its verbs are called one after the other, each from a job's thread.

    It is made with the instance as it is at its creation, ``Vm``: addresses, metadata with user-script and
    root_authorized_keys, tags. What it raises in ``start`` makes a job fail, a provisioning one too.
    """

    def start(self) -> None:
        """Switch it on, for the first time or again; returns when it is as much up as ``running`` promises."""

    def stop(self) -> None:
        """Switch it off, keeping its disk; nothing when it is off."""

    def destroy(self) -> None:
        """Switch it off and throw its disk away; nothing when that was done."""

    def said(self) -> dict[str, Any] | None:
        """Its metadata as it is inside, where it may write; None when nobody can tell."""

    def hear(self, metadata: dict[str, Any]) -> None:
        """Its metadata has changed."""


class PaperMachine:
    """A machine that nobody can reach; ``story`` is what was done with it."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.story: list[str] = []

    def start(self) -> None:
        """Note it."""
        self.story.append("start")

    def stop(self) -> None:
        """Note it."""
        self.story.append("stop")

    def destroy(self) -> None:
        """Note it."""
        self.story.append("destroy")

    def said(self) -> dict[str, Any] | None:
        """It says nothing."""
        return None

    def hear(self, metadata: dict[str, Any]) -> None:
        """It hears nothing."""
