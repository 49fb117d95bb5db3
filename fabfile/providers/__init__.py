"""Providers of machines: one module or package each, imported when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from ..machines import Provider
from ..settings import Settings

NAMES = ("local", "static", "ec2", "triton")


def get(settings: Settings) -> Provider:
    """The provider that the settings name; each plug-in has a function ``provider(settings)``."""
    return cast(Provider, import_module(f"{__name__}.{settings.provider}").provider(settings))
