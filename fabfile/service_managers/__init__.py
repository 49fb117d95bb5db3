"""Service managers: one module each, imported when asked for, chosen by looking at the host."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from ..services import ServiceManager

NAMES = ("systemd",)


def get(name: str) -> ServiceManager:
    """The service manager of that name; each plug-in has a value ``service_manager``."""
    return cast(ServiceManager, import_module(f"{__name__}.{name}").service_manager)
