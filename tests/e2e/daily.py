"""What is done with a cluster every day, on whatever provider it runs: each command once, as a person would."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.cluster import UserCluster


def check_daily_commands(user: UserCluster, folder: Path, engines: int) -> None:
    """Run, put, get, logs, ssh, connect, shell, restart, packages, doctor; the cluster is healthy, with ``engines``."""
    script = folder / "count.py"
    script.write_text("import ipyparallel as ipp; print(len(ipp.Client()), 'engines')\n")
    assert user.invoke("run", "--script", str(script)) == f"{engines} engines\n"
    shown = user.invoke("run", "--on", "engines", "--command", "id -un; pwd").splitlines()
    assert sum(line.endswith("| ipyparallel") for line in shown) == len(shown) / 2
    assert sum(line.endswith("| /var/lib/ipyparallel") for line in shown) == len(shown) / 2

    package = folder / "dailytools"
    package.mkdir()
    (package / "__init__.py").write_text("ANSWER = 42\n")
    user.invoke("put", "--package", str(package))
    user.invoke("put", "--path", str(script), "--to", "in put/")
    user.invoke("get", "--path", "in put/count.py", "--on", "engine-0", "--to", str(folder / "back.py"))
    assert (folder / "back.py").read_text() == script.read_text()
    line = 'print(dview.apply_sync(lambda: __import__("dailytools").ANSWER))'
    assert user.invoke("shell", "--command", line).strip() == str([42] * engines)

    assert "== engine-0 ==" in user.invoke("logs", "--on", "engine-0", "--lines", "5")
    assert user.invoke("ssh", "--machine", "engine-0", "--command", "echo here").strip() == "here"
    assert "disconnected" in user.invoke("disconnect")
    assert f"connected, {engines} engine" in user.invoke("connect")
    assert f"{engines} engine{'s'[: engines != 1]} restarted in" in user.invoke("restart")
    assert "ipyparallel" in user.invoke("packages.list")
    user.invoke("doctor")
    assert user.status()["state"] == "healthy"
