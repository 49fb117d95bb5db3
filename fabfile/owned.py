"""What the project decides itself about controller, engines and their environment, so that users cannot set it twice.

Addresses, ports, keys and identities of the two programs are made by the chain; an option that changes one of them
behind its back gives a cluster that looks up and does not answer. The names are those that ``ipcontroller --help-all``
and ``ipengine --help-all`` of ipyparallel 9.2 print (``test_every_owned_option_exists_in_ipyparallel``).
"""

from __future__ import annotations

import re

OWN = "set by ipyfleet itself"
NO_START = "not an option to start a service with"

# Options without a class and traits of any class, by what decides them. Traits are inherited
# (`--Application.x` reaches an engine), so the class in front of a trait does not matter.
OWNED = {
    OWN: (
        "ip engine_ip client_ip monitor_ip location ssh enginessh ssh_server engine_ssh_server sshserver sshkey "
        "paramiko transport engine_transport client_transport monitor_transport url registration_url "
        "port ports engine_ports client_ports regport mon_port notifier_port hb iopub control mux task "
        "broadcast_scheduler_depth reuse reuse_files restore restore_engines client_json_file engine_json_file "
        "file url_file url_file_name wait_for_url_file cluster_id ident session id user username "
        "key keyfile signature_scheme enable_curve curve_publickey curve_secretkey curve_serverkey "
        "config extra_config_file profile profile_dir ipython_dir auto_create copy_config_files overwrite"
    ),
    "decided by the setting encryption": "secure no_secure",
    "decided by the settings patience and heartbeat": (
        "ping period max_heartmonitor_misses max_heartbeat_misses timeout registration_timeout"
    ),
    "decided by the setting packer": "packer unpacker",
    NO_START: "init show_config show_config_json help help_all version",
}
REASONS = {name: reason for reason, names in OWNED.items() for name in names.split()}
NOT_OWNED = ("SQLiteDB.location",)  # where the hub's own database lies: the same word, another thing


def option(value: str) -> str:
    """An option for ipcontroller or ipengine in one word, ``--name=value`` or ``--Class.name=value``, not owned."""
    match = re.fullmatch(r"--([A-Za-z][A-Za-z0-9_.-]*)(?:=.*)?", value, re.ASCII)
    if not match or not value.isprintable():
        raise ValueError(f"has {value!r}, which is not an option in one word like --Class.name=value")
    name = match[1]
    reason = REASONS.get(name.rpartition(".")[2].replace("-", "_"))
    if reason and name not in NOT_OWNED:
        raise ValueError(f"has {value.partition('=')[0]}, which is {reason}: leave it out")
    return value


def variable(name: str) -> str:
    """Why an engine's environment may not have this variable, or ""."""
    if name.startswith("IPP_") or name in ("IPYTHONDIR", "HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        return f"which is {OWN}: leave it out"
    return ""
