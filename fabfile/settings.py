"""Settings: the only reader of configuration, from files, environment and command line to one frozen value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Everything a user can decide, checked. Times are seconds. invoke.yaml describes each field."""

    cluster: str = "ipython"
    template: str = "local"
    provider: str = "local"
    engines: int = 4
    engines_per_machine: int = 0
    min_engines: int = 0
    hosts: tuple[str, ...] = ()
    controller_host: str = ""
    encryption: str = "curve"
    patience: float = 20.0
    heartbeat: float = 0.1
    lease: float = 0.0
    packages: tuple[str, ...] = ("numpy",)
    packer: str = "json"
    controller_options: tuple[str, ...] = ()
    engine_options: tuple[str, ...] = ()
    engine_env: tuple[tuple[str, str], ...] = ()
    ssh_keys: tuple[str, ...] = ()
    first_port: int = 10101
    stop_timeout: float = 120.0
    boot_timeout: float = 120.0
    start_timeout: float = 120.0
    release: str = ""
    subnets: str = "10.203.0.0/16"
