"""Who may reach machines in a cloud from outside: this computer's own address, and what is open to the world.

Knows no provider; which form a rule has there is the provider's.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from .errors import ProviderRefused
from .machines import Finding
from .settings import Settings

ANSWER_TIME = 5.0  # s that the service may take that says where we come from
WORLD = ("0.0.0.0/0", "::/0")


def own_address(settings: Settings) -> str:
    """The network of this computer alone (``/32`` or ``/128``), as the internet sees it: what ``address_service`` says.

    Raises ProviderRefused when it does not answer with an address.
    """
    import requests  # takes 0.1 s

    service = settings.address_service
    advice = "name your networks in `ssh_from`, like [203.0.113.0/24], or another `address_service`"
    try:
        answer = requests.get(service, timeout=ANSWER_TIME)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise ProviderRefused(
            f"{service} does not say which address this computer has: {type(error).__name__}", hint=advice
        ) from error
    said = answer.text.strip()
    try:
        address = ip_address(said)
        if "%" in said:
            raise ValueError("a zone has a meaning on this computer only")
    except ValueError:
        raise ProviderRefused(f"{service} answered {said[:60]!r}, which is no address", hint=advice) from None
    return f"{address}/{address.max_prefixlen}"


def world_findings(settings: Settings) -> Iterator[Finding]:
    """A warning for each way in that is open to the whole world."""
    open_ports = [port for port in settings.open_ports if port.endswith(WORLD)]
    open_ports += [f"tcp:22:{network}" for network in settings.ssh_from if network in WORLD]
    for port in open_ports:
        protocol, ports, _ = port.split(":", 2)
        setting = "ssh_from" if f"{protocol}:{ports}" == "tcp:22" else "open_ports"
        yield Finding(
            "warning",
            f"port {ports} ({protocol}) will be open to the whole world",
            f"name your own networks in `{setting}`, like 203.0.113.0/24",
        )
