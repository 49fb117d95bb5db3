"""Routes: which handler a method and path mean, and which calls are counted together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from . import actions, catalog, creation, firewall, labels, listing
from .answers import Answer, Refusal
from .asked import Asked
from .world import World

Handler = Callable[[World, Asked], Answer]
P = "/my/machines/{machine}"


@dataclass(frozen=True)
class Route:
    """What a method and path mean; ``group`` is the throttle's."""

    method: str
    template: str
    handler: Handler
    group: str = "machines"

    @property
    def steps(self) -> list[str]:
        """The steps of its path."""
        return self.template.split("/")[1:]

    @property
    def action(self) -> str:
        """What access rules call it."""
        return self.handler.__name__.replace("_", "")


ROUTES = [
    Route("GET", "/my", catalog.account, "account"),
    Route("GET", "/my/services", catalog.services, "services"),
    Route("GET", "/my/datacenters", catalog.datacenters, "datacenters"),
    Route("GET", "/my/datacenters/{name}", catalog.datacenter, "datacenters"),
    Route("GET", "/my/images", catalog.images, "images"),
    Route("GET", "/my/images/{image}", catalog.image, "images"),
    Route("GET", "/my/packages", catalog.packages, "packages"),
    Route("GET", "/my/packages/{package}", catalog.package, "packages"),
    Route("GET", "/my/networks", catalog.networks, "networks"),
    Route("GET", "/my/networks/{network}", catalog.network, "networks"),
    Route("POST", "/my/keys", catalog.add_key, "keys"),
    Route("GET", "/my/keys", catalog.keys, "keys"),
    Route("GET", "/my/keys/{key}", catalog.key, "keys"),
    Route("DELETE", "/my/keys/{key}", catalog.remove_key, "keys"),
    Route("POST", "/my/machines", creation.create),
    Route("GET", "/my/machines", listing.machines),
    Route("GET", P, listing.machine),
    Route("POST", P, actions.act),
    Route("DELETE", P, actions.delete),
    Route("GET", f"{P}/audit", actions.audit),
    Route("GET", f"{P}/fwrules", firewall.of_machine),
    Route("GET", f"{P}/tags", labels.tags),
    Route("POST", f"{P}/tags", labels.add_tags),
    Route("PUT", f"{P}/tags", labels.replace_tags),
    Route("DELETE", f"{P}/tags", labels.remove_tags),
    Route("GET", f"{P}/tags/{{tag}}", labels.tag),
    Route("DELETE", f"{P}/tags/{{tag}}", labels.remove_tag),
    Route("GET", f"{P}/metadata", labels.metadata),
    Route("POST", f"{P}/metadata", labels.add_metadata),
    Route("DELETE", f"{P}/metadata", labels.remove_metadata),
    Route("GET", f"{P}/metadata/{{key}}", labels.metadatum),
    Route("DELETE", f"{P}/metadata/{{key}}", labels.remove_metadatum),
    Route("POST", "/my/fwrules", firewall.add),
    Route("GET", "/my/fwrules", firewall.rules),
    Route("GET", "/my/fwrules/{rule}", firewall.rule),
    Route("POST", "/my/fwrules/{rule}", firewall.change),
    Route("DELETE", "/my/fwrules/{rule}", firewall.remove),
    Route("POST", "/my/fwrules/{rule}/enable", firewall.enable),
    Route("POST", "/my/fwrules/{rule}/disable", firewall.disable),
    Route("GET", "/my/fwrules/{rule}/machines", firewall.machines),
]
PING = Route("GET", "/--ping", catalog.ping, "ping")


def find(asked: Asked) -> Route:
    """The route of a request, noted with it; raises Refusal."""
    if asked.path == "/--ping":
        asked.route = PING.template
        return PING
    if asked.path.endswith("/"):
        raise Refusal(500, "InternalError", "There was an internal error")
    steps = asked.path.split("/")[1:]
    matching = [route for route in ROUTES if _matches(route, steps)]
    method = "GET" if asked.method == "HEAD" else asked.method
    for route in matching:
        if route.method == method:
            asked.route = route.template
            names = zip(route.steps[1:], steps[1:], strict=True)
            asked.steps = {name[1:-1]: step for name, step in names if name.startswith("{")}
            asked.steps["account"] = steps[0]
            return route
    methods = [route.method for route in matching]
    if matching or (len(steps) == 2 and method != "PUT"):  # every two steps are also a PUT of something
        allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods) if matching else "PUT"
        message = f"{asked.method} is not allowed"
        raise Refusal(405, "MethodNotAllowedError", message, headers={"Allow": allowed}, bare=True)
    raise Refusal(HTTPStatus.NOT_FOUND, "ResourceNotFound", f"{asked.path} does not exist", bare=True)


def _matches(route: Route, steps: list[str]) -> bool:
    wanted = route.steps
    if len(wanted) != len(steps):
        return False
    # The first step is the account, whoever it is.
    return all(name.startswith("{") or name == step for name, step in zip(wanted[1:], steps[1:], strict=True))
