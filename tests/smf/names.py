"""Full names, abbreviations and patterns of services and instances."""

from __future__ import annotations

from fnmatch import fnmatchcase

from .repository import Instance, Repository, Service


def is_pattern(text: str) -> bool:
    """Whether it is to be matched as a pattern."""
    return any(char in text for char in "*?[")


def matching(repository: Repository, text: str) -> list[Instance]:
    """The instances that a name, an abbreviation or a pattern means.

    A pattern is held against the full name, with "svc:/" put in front of it when it has none. An abbreviation is the
    end of a service's name from a slash on, with or without an instance, or an instance's name.
    """
    return [instance for instance in repository.instances() if _means(text, instance.service, instance.name)]


def matching_entities(repository: Repository, text: str) -> list[Service | Instance]:
    """The services and instances that a name means to svccfg and svcprop: without an instance, the service."""
    services = repository.services.values()
    if is_pattern(text):
        pattern = _full(text)
        entities: list[Service | Instance] = []
        for service in services:
            entities += [service, *service.instances.values()]
        return [entity for entity in entities if fnmatchcase(entity.fmri, pattern)]
    name, colon, _ = text.removeprefix("svc:").lstrip("/").partition(":")
    if colon:
        return list(matching(repository, text))
    exact = text.startswith("svc:")
    return [service for service in services if service.name == name or (not exact and _ends(service.name, name))]


def _means(text: str, service: str, instance: str) -> bool:
    if is_pattern(text):
        return fnmatchcase(f"svc:/{service}:{instance}", _full(text))
    name, colon, one = text.removeprefix("svc:").lstrip("/").partition(":")
    if colon and one != instance:
        return False
    if text.startswith("svc:"):
        return service == name
    return _ends(service, name) or (not colon and instance == name)


def _ends(service: str, name: str) -> bool:
    return bool(name) and (service == name or service.endswith(f"/{name}"))


def _full(pattern: str) -> str:
    return pattern if pattern.startswith("svc:") else f"svc:/{pattern.lstrip('/')}"
