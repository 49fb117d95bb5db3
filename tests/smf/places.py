"""Where the stand-in keeps what it knows, and the settings that a test may change while it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULT_STATE = "/var/lib/smf-standin"

SETTINGS: dict[str, Any] = {
    "log_folder": "",  # "" is /var/svc/log on a machine, else the folder log below the state
    "default_init": "/etc/default/init",
    "mdata_folder": "/var/svc",  # where mdata:fetch puts the user-script
    "dtd": "/usr/share/lib/xml/dtd/service_bundle.dtd.1",
    "adoption": 0.1,  # seconds until startd sees a new instance; null: never
    "refresh": 0.02,  # seconds until a refresh reaches the running snapshot
    "pace": 0.0,  # seconds that each state on the way is held
    "throttle": 1.0,  # seconds; what the original pauses
    "lifetime": 0.0,  # seconds until the restarter ends by itself, 0 for never
    "unprivileged": False,  # every caller is told "Permission denied."
    "flapping": {},  # FMRI: seconds after each start at which the service is killed from outside
    "hanging": [],  # FMRIs whose start method never ends: OFF ON
    "log_missing": [],  # FMRIs whose log is not there
    "fetch_seconds": 0.0,  # how long mdata:fetch takes
    "execute_timeout": 300.0,  # the limit of the user-script
    "packages": ["python312", "py312-zmq", "py312-psutil", "py312-tornado"],  # what pkgin offers
    "package_wheels": "",  # the folder that pkgin takes them from, "" for no more than their names
}


@dataclass(frozen=True)
class Place:
    """One machine's files; ``state`` is the folder that SMF_STANDIN_STATE names."""

    state: Path

    @property
    def repository(self) -> Path:
        """The services as configured."""
        return self.state / "repository.json"

    @property
    def states(self) -> Path:
        """What the restarter says of each instance; only it writes there."""
        return self.state / "states.json"

    @property
    def requests(self) -> Path:
        """The folder of what the restarter is asked to do, one file each, in the order of their names."""
        return self.state / "requests"

    @property
    def metadata(self) -> Path:
        """The machine's metadata; without it mdata-get waits, as before the metadata service is up."""
        return self.state / "metadata.json"

    @property
    def stopped(self) -> Path:
        """A mark that the restarter was told to end, and is not to begin again by itself."""
        return self.state / "stopped"

    @property
    def logs(self) -> Path:
        """The folder of the services' logs."""
        given = str(self.setting("log_folder"))
        if given:
            return Path(given)
        return Path("/var/svc/log") if str(self.state) == DEFAULT_STATE else self.state / "log"

    def setting(self, name: str) -> Any:
        """One setting as it is now."""
        return self.settings()[name]

    def settings(self) -> dict[str, Any]:
        """All settings as they are now."""
        return {**SETTINGS, **read(self.state / "settings.json", {})}

    def change(self, changes: Mapping[str, Any]) -> None:
        """Change settings; commands and the restarter see it at their next look. KeyError for unknown ones."""
        unknown = changes.keys() - SETTINGS.keys()
        if unknown:
            raise KeyError(f"no setting {', '.join(sorted(unknown))}; there are {', '.join(SETTINGS)}")
        path = self.state / "settings.json"
        write(path, {**read(path, {}), **changes})

    def privileged(self) -> bool:
        """Whether the caller may change things: root, and in a test's folder its owner."""
        if self.setting("unprivileged"):
            return False
        return os.geteuid() in (0, self.state.stat().st_uid)


def here() -> Place:
    """The place that the environment names."""
    return Place(Path(os.environ.get("SMF_STANDIN_STATE") or DEFAULT_STATE))


def read(path: Path, default: Any) -> Any:
    """What a JSON file holds, ``default`` when there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default


def write(path: Path, value: Any) -> None:
    """Write a JSON file at once, so that no reader sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value))  # indented it would take many times as long
    draft.chmod(0o644)
    draft.replace(path)
