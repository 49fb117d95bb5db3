from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fabfile.client_file import ClientFile, client_file_path, install_client_file, look, remove_client_file
from fabfile.connection import FORWARDED, make
from fabfile.errors import ClusterError, UsageError
from fabfile.machines import Cluster
from fabfile.settings import Settings
from tests.loopback_cluster import loopback_cluster

OURS = Cluster("ipython", "1f2e3d", "me@here", 1.7e9)
CONNECTION, _ = make("10.203.0.2", Settings())
PORTS = tuple(range(21000, 21000 + len(FORWARDED)))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own; IPython's folder is where it is by default."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("IPYTHONDIR", raising=False)
    return tmp_path


def test_a_client_by_cluster_id_works_from_another_process(tmp_path):
    with loopback_cluster(tmp_path / "cluster") as cluster:
        cluster.folder.mkdir()
        cluster.start(2)
        info = cluster.info
        install_client_file(OURS, cluster.connection, [info[channel] for channel in FORWARDED])
        asked = "import ipyparallel as ipp; rc = ipp.Client(cluster_id='ipython'); " + (
            "print(rc.ids, rc[:].map_sync(lambda x: x**3, range(4)), rc.load_balanced_view().apply_sync(len, 'ab'))"
        )
        words = (sys.executable, "-W", "error", "-c", asked)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("[0, 1] [0, 1, 8, 27] 2\n", "")


def test_it_is_private_together_with_the_folders_made_for_it(home):
    path = install_client_file(OURS, CONNECTION, PORTS)
    assert path == home / ".ipython/profile_default/security/ipcontroller-ipython-client.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [folder.stat().st_mode & 0o777 for folder in path.parents[:3]] == [0o700] * 3
    assert list(path.parent.iterdir()) == [path]


def test_folders_that_exist_keep_their_modes(home):
    (home / ".ipython").mkdir(mode=0o755)
    install_client_file(OURS, CONNECTION, PORTS)
    assert (home / ".ipython").stat().st_mode & 0o777 == 0o755


def test_ipythons_own_variable_is_honoured(home, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", "~/elsewhere")
    assert client_file_path("lab").parents[2] == home / "elsewhere"
    from IPython.paths import get_ipython_dir

    assert get_ipython_dir() == str(home / "elsewhere")


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null"])
def test_a_folder_that_cannot_be_written_is_told_with_the_way_around(monkeypatch, folder):
    monkeypatch.setenv("IPYTHONDIR", folder)
    with pytest.raises(ClusterError, match=f"client file {folder}/profile_default/.* cannot be written") as refused:
        install_client_file(OURS, CONNECTION, PORTS)
    assert "IPYTHONDIR" in refused.value.hint


def test_one_that_cannot_be_removed_is_told(monkeypatch):
    def refuse(path, missing_ok=False):
        raise OSError(errno.EROFS, "Read-only file system")

    install_client_file(OURS, CONNECTION, PORTS)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ClusterError, match="removed: Read-only file system"):
        remove_client_file(OURS)


def test_writing_the_same_again_does_not_touch_it():
    path = install_client_file(OURS, CONNECTION, PORTS)
    before = path.stat()
    install_client_file(OURS, CONNECTION, PORTS)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_new_ports_of_the_same_cluster_replace_it_and_a_wider_mode_is_mended():
    path = install_client_file(OURS, CONNECTION, PORTS)
    path.chmod(0o644)
    install_client_file(OURS, CONNECTION, PORTS)
    assert path.stat().st_mode & 0o777 == 0o600
    install_client_file(OURS, CONNECTION, [port + 100 for port in PORTS])
    assert json.loads(path.read_text())["registration"] == PORTS[0] + 100


@pytest.mark.parametrize("content", ['{"registration": 5}', "[]", "not JSON", "", '{"ipyfleet": 7}'])
def test_the_file_of_somebody_elses_controller_is_neither_overwritten_nor_removed(content):
    path = client_file_path("ipython")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UsageError, match="another controller") as caught:
        install_client_file(OURS, CONNECTION, PORTS)
    assert str(path) in str(caught.value)
    assert f"rm {path}" in caught.value.hint
    assert not remove_client_file(OURS)
    assert path.read_text() == content


def test_the_file_of_another_cluster_of_the_same_name_is_neither_overwritten_nor_removed():
    path = install_client_file(Cluster("ipython", "other1", "you@there", 1.7e9), CONNECTION, PORTS)
    with pytest.raises(UsageError, match="the id other1"):
        install_client_file(OURS, CONNECTION, PORTS)
    assert not remove_client_file(OURS)
    assert path.exists()


def test_our_own_is_removed_and_removing_nothing_is_fine():
    path = install_client_file(OURS, CONNECTION, PORTS)
    assert remove_client_file(OURS)
    assert not path.exists()
    assert not remove_client_file(OURS)


def test_it_is_looked_at_as_it_lies_there():
    assert look(OURS, CONNECTION, PORTS) is None
    path = install_client_file(OURS, CONNECTION, PORTS)
    assert look(OURS, CONNECTION, PORTS) == ClientFile(0o600, OURS.id, ())
    path.chmod(0o640)
    assert look(OURS, CONNECTION, [port + 1 for port in PORTS]) == ClientFile(
        0o640, OURS.id, ("broadcast", "control", "iopub", "mux", "notification", "registration", "task")
    )


@pytest.mark.parametrize("content", ["not JSON", "[]", ""])
def test_one_that_cannot_be_read_as_a_document_differs_in_everything(content):
    client_file_path("ipython").parent.mkdir(parents=True)
    client_file_path("ipython").write_text(content)
    seen = look(OURS, CONNECTION, PORTS)
    assert seen is not None
    assert seen.owner is None
    assert "registration" in seen.differing
