"""Hosts that the project did not make: software without network or compiler, claimed, and left as they were found."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import ssh
from fabfile.boot import script
from fabfile.errors import ProviderRefused, RemoteError
from fabfile.machines import Cluster, MachineSpec, MachineState, silent
from fabfile.providers.static import Static
from fabfile.remote import File, Host
from fabfile.settings import Settings
from fabfile.software import Software, software, wheelhouse
from tests.contract.static import StaticContract
from tests.e2e.machines import BareHost, bare_hosts

pytestmark = pytest.mark.e2e

ENVIRONMENT = "/opt/ipyfleet/env"
TAR = "/root/wheelhouse.tar"
KILLED_AS_SOON_AS = 'seen=$1; shift; rm -rf /opt/ipyfleet/env-*; sh /root/software.sh "$@" & script=$!; '
KILLED_AS_SOON_AS += "until ls $seen; do sleep 0.01; done; kill -9 $script; wait $script"
FILES = "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/log -o "
FILES += "-name '*-' -o -name '*.pyc' -o -name __pycache__ \\) -prune -o -print | sort; cat /etc/passwd /etc/group"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[BareHost]]:
    with bare_hosts(3, "bare-static", tmp_path_factory.mktemp("bare")) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def host(bare: list[BareHost]) -> Iterator[Host]:
    """The first host, over SSH as the chain has it."""
    connection = ssh.connect(bare[0].endpoint, "bare", bare[0].credentials)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def wanted() -> Software:
    return software(Settings())


@pytest.fixture(scope="module")
def tar(host: Host, wanted: Software) -> str:
    """The wheelhouse on the host."""
    host.place([File(TAR, wheelhouse(wanted).read_bytes(), mode=0o600)])
    return TAR


@pytest.fixture(scope="module")
def installed(host: Host, wanted: Software, tar: str) -> Software:
    """The software, put on the host after it was interrupted again and again."""
    host.script(script("host.sh"), sudo=True)
    host.place([File("/root/software.sh", script("software.sh").read_bytes())])
    packages = f"{ENVIRONMENT}-{wanted.id}/lib/python{wanted.python}/site-packages"
    for seen in (f"{packages}/jedi", f"{packages}/*/__pycache__"):  # pip at work; then compiling
        # Only the script is killed: what it started goes on, and must not get in the way of the next one.
        killed = host.run(
            *("sh", "-c", KILLED_AS_SOON_AS, "sh", seen, tar, wanted.id), sudo=True, check=False, timeout=300
        )
        assert killed.exit_code == 137, killed
        assert host.read(f"{ENVIRONMENT}/ipyfleet-software-id") is None
        assert host.read(f"{ENVIRONMENT}-{wanted.id}/ipyfleet-software-id") is None
    host.script(script("software.sh"), tar, wanted.id, sudo=True, timeout=300)
    return wanted


def other_wheelhouse(wheels: Path, **changes: str | None) -> bytes:
    """A wheelhouse with files replaced, or left out (None), by the beginnings of their names."""
    made = io.BytesIO()
    with tarfile.open(wheels) as source, tarfile.open(fileobj=made, mode="w") as target:
        for member in source:
            begins = next((name for name in changes if Path(member.name).name.startswith(name)), None)
            if begins is None:
                target.addfile(member, source.extractfile(member) if member.isfile() else None)
            elif (text := changes[begins]) is not None:
                member.size = len(text)
                target.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


class TestSoftware:
    def test_the_host_has_nothing_but_python_and_no_way_out(self, host: Host) -> None:
        assert host.run("python3", "-c", "import ensurepip", check=False).exit_code != 0
        assert host.run("sh", "-c", "command -v pip || command -v gcc || command -v cc", check=False).exit_code != 0
        assert "default" not in host.run("ip", "route").stdout

    def test_a_host_is_made_ready_once_and_stays_so(self, host: Host) -> None:
        host.script(script("host.sh"), sudo=True)
        before = host.run("getent", "passwd", "ipyparallel").stdout
        host.script(script("host.sh"), sudo=True)
        assert host.run("getent", "passwd", "ipyparallel").stdout == before
        assert before.split(":")[5] == "/var/lib/ipyparallel"
        assert host.run("stat", "-c", "%U %a", "/var/lib/ipyparallel").stdout.split() == ["ipyparallel", "750"]

    def test_what_was_interrupted_is_recovered_and_works_for_the_service_user(
        self, host: Host, installed: Software
    ) -> None:
        code = "import zmq, numpy, ipyparallel; print(zmq.has('curve'), ipyparallel.__version__)"
        said = host.run("runuser", "-u", "ipyparallel", "--", f"{ENVIRONMENT}/bin/python", "-c", code, sudo=True).stdout
        version = next(pin.partition("==")[2] for pin in installed.requirements if pin.startswith("ipyparallel=="))
        assert said.split() == ["True", version]

    def test_every_version_is_the_clients(self, host: Host, installed: Software) -> None:
        said = host.run(f"{ENVIRONMENT}/bin/python", "-m", "pip", "list", "--format=freeze").stdout
        assert sorted(line.lower().replace("_", "-") for line in said.split()) == sorted(installed.requirements)

    def test_nothing_is_left_beside_the_environment(self, host: Host, installed: Software) -> None:
        there = set(host.run("ls", "-A", "/opt/ipyfleet").stdout.split())
        assert there == {"env", f"env-{installed.id}", "libexec", "packages", "software.lock"}
        assert host.run("readlink", ENVIRONMENT).stdout.strip() == f"env-{installed.id}"

    def test_modules_are_compiled_since_the_service_user_cannot_do_it(self, host: Host, installed: Software) -> None:
        compiled = f"ls {ENVIRONMENT}/lib/python*/site-packages/ipyparallel/engine/__pycache__/app.*.pyc"
        assert host.run("sh", "-c", compiled).stdout.endswith(f"app.cpython-{installed.python.replace('.', '')}.pyc\n")

    def test_people_who_log_in_find_ipython_and_keep_their_own_python3(self, host: Host, installed: Software) -> None:
        said = host.run("sh", "-lc", "command -v ipython; command -v python3").stdout.split()
        assert said == [f"{ENVIRONMENT}/bin/ipython", "/usr/bin/python3"]

    def test_the_second_time_is_over_at_once(self, host: Host, installed: Software, tar: str) -> None:
        before = host.run("stat", "-c", "%Y %Z", f"{ENVIRONMENT}/").stdout
        begun = time.monotonic()
        host.script(script("software.sh"), tar, installed.id, sudo=True)
        assert time.monotonic() - begun < 1
        assert host.run("stat", "-c", "%Y %Z", f"{ENVIRONMENT}/").stdout == before

    def test_another_python_is_refused_with_what_to_install(self, host: Host, installed: Software) -> None:
        wheels = other_wheelhouse(wheelhouse(installed), python="3.99\n")
        host.place([File("/root/other.tar", wheels)])
        refused = host.script(script("software.sh"), "/root/other.tar", "otherpython", sudo=True, check=False)
        assert refused.exit_code == 3
        assert "install python3.99 here" in refused.stderr
        assert host.run("test", "-e", "/opt/ipyfleet/env-otherpython", check=False).exit_code == 1

    def test_a_wheelhouse_with_a_hole_leaves_the_old_environment_in_use(self, host: Host, installed: Software) -> None:
        host.place([File("/root/hole.tar", other_wheelhouse(wheelhouse(installed), tornado=None))])
        with pytest.raises(RemoteError, match="No matching distribution found for tornado"):
            host.script(script("software.sh"), "/root/hole.tar", "hole", sudo=True, timeout=120)
        assert (host.read(f"{ENVIRONMENT}/ipyfleet-software-id") or b"").decode().strip() == installed.id
        assert host.read("/opt/ipyfleet/env-hole/ipyfleet-software-id") is None


class TestHost:
    def test_after_two_installations_at_once_it_can_be_left_exactly_as_it_was(
        self, bare: list[BareHost], wanted: Software
    ) -> None:
        host = ssh.connect(bare[1].endpoint, "bare", bare[1].credentials)
        before = host.run("sh", "-c", FILES, sudo=True).stdout
        host.script(script("claim.sh"), "11aa", sudo=True, stdin=b'{"id": "11aa"}\n')
        host.script(script("host.sh"), sudo=True)
        tar = wheelhouse(wanted).read_bytes()

        def install(_: int) -> None:
            host.script(script("software.sh"), "-", wanted.id, sudo=True, timeout=300, stdin=tar)

        with ThreadPoolExecutor() as pool:
            list(pool.map(install, range(2)))
        assert (host.read(f"{ENVIRONMENT}/ipyfleet-software-id") or b"").decode().strip() == wanted.id
        assert host.run("sh", "-c", FILES, sudo=True).stdout != before
        host.script(script("forget.sh"), sudo=True)
        host.script(script("forget.sh"), sudo=True)
        assert host.run("sh", "-c", FILES, sudo=True).stdout.splitlines() == before.splitlines()
        host.close()

    def test_a_user_of_its_own_is_neither_taken_over_nor_removed(self, bare: list[BareHost]) -> None:
        host = ssh.connect(bare[1].endpoint, "bare", bare[1].credentials)
        host.run("useradd", "--home-dir", "/home/other", "ipyparallel", sudo=True)
        with pytest.raises(RemoteError, match="has a user ipyparallel of its own"):
            host.script(script("host.sh"), sudo=True)
        host.script(script("forget.sh"), sudo=True)
        assert host.run("getent", "passwd", "ipyparallel").exit_code == 0
        host.run("userdel", "ipyparallel", sudo=True)
        host.close()

    def test_processes_of_the_service_user_stop_the_clearing_and_the_host_stays_the_clusters(
        self, bare: list[BareHost]
    ) -> None:
        host = ssh.connect(bare[1].endpoint, "bare", bare[1].credentials)
        host.script(script("claim.sh"), "11aa", sudo=True, stdin=b'{"id": "11aa"}\n')
        host.script(script("host.sh"), sudo=True)
        host.run("systemd-run", "--quiet", "--unit=stray", "--uid=ipyparallel", "sleep", "600", sudo=True)
        with pytest.raises(RemoteError, match="ps -u ipyparallel"):
            host.script(script("forget.sh"), sudo=True)
        assert host.read("/etc/ipyfleet/owner.json") == b'{"id": "11aa"}\n'
        host.run("systemctl", "stop", "stray", sudo=True)
        host.script(script("forget.sh"), sudo=True)
        assert host.read("/etc/ipyfleet/owner.json") is None
        host.close()


@pytest.fixture
def listed(bare: list[BareHost], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that list two hosts, reached by an ssh_config; no record yet."""
    monkeypatch.setenv("IPYFLEET_HOME", str(tmp_path / "records"))
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host *\n IdentityFile {bare[0].credentials.key_file}\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {bare[0].credentials.known_hosts}\n GlobalKnownHostsFile /dev/null\n"
    )
    hosts = tuple(str(one.endpoint) for one in bare[:2])
    return Settings(provider="static", cluster="lab", hosts=hosts, engines=2, ssh_config=str(config))


class TestContract(StaticContract):
    @pytest.fixture(autouse=True)
    def three(self, listed: Settings, bare: list[BareHost]) -> Iterator[None]:
        self.settings = replace(listed, cluster="contract", controller_host=str(bare[2].endpoint))
        self.bare = bare
        self.made: list[Static] = []
        yield
        for static in self.made:
            static.close()

    def new_provider(self) -> Static:
        self.made.append(Static(self.settings))
        return self.made[-1]

    def leftovers(self) -> list[str]:
        places = "/etc/ipyfleet /opt/ipyfleet /var/lib/ipyparallel /etc/profile.d/ipyfleet.sh"
        return [line for host in self.bare for line in host.ssh(f"ls -d {places} 2>/dev/null", check=False).split()]


SPECS = [MachineSpec("controller", 0), MachineSpec("engine", 0), MachineSpec("engine", 1)]


class TestProvider:
    def test_hosts_are_checked_claimed_found_without_a_record_and_let_go(
        self, listed: Settings, bare: list[BareHost]
    ) -> None:
        static = Static(listed)
        assert static.check(3) == []
        cluster = Cluster("lab", "11aa", "me@here", 1000.0)
        made = static.create(cluster, SPECS, silent)
        static.close()
        found = Static(listed).find("lab")
        assert found.cluster == cluster
        assert found.machines == made
        assert [machine.private_address for machine in made] == [bare[i].private_address for i in (0, 0, 1)]
        assert {machine.state for machine in made} == {MachineState.RUNNING}
        static.destroy("lab", made)
        static.destroy("lab", made)
        assert static.find("lab").cluster is None
        assert "No such file" in bare[0].ssh("ls /etc/ipyfleet 2>&1", check=False)
        static.close()

    def test_of_two_clusters_that_reach_for_a_host_at_once_one_gets_it(self, listed: Settings) -> None:
        statics = [Static(replace(listed, cluster=name)) for name in ("one", "two")]
        clusters = [Cluster(name, id_, "me@here", 1.0) for name, id_ in (("one", "11aa"), ("two", "22bb"))]
        for static, cluster in zip(statics, clusters, strict=True):
            static.find(cluster.name)  # connected, so that they start level

        def reach(number: int) -> str:
            try:
                statics[number].create(clusters[number], SPECS[:1], silent)
            except ProviderRefused as error:
                return str(error)
            return ""

        with ThreadPoolExecutor() as pool:
            refused = list(pool.map(reach, range(2)))
        (winner,) = [number for number in range(2) if not refused[number]]
        assert f"belongs to the cluster {clusters[winner].name!r} that me@here made" in refused[1 - winner]
        assert statics[1 - winner].check(1)[0].text.endswith(refused[1 - winner].split("\n")[0].partition(" ")[2])
        statics[winner].destroy(clusters[winner].name, statics[winner].find(clusters[winner].name).machines)
        for static in statics:
            static.close()

    def test_all_that_a_host_lacks_is_told_before_anything_is_put_there(
        self, listed: Settings, bare: list[BareHost]
    ) -> None:
        hide = "for f in /usr/bin/python3*; do sudo mv $f $f.hidden; done"
        show = "for f in /usr/bin/python3*.hidden; do sudo mv $f ${f%.hidden}; done"
        bare[1].ssh(hide)
        try:
            static = Static(listed)
            findings = static.check(3)
        finally:
            bare[1].ssh(show)
        assert [(one.level, one.text.split(", ")[0]) for one in findings] == [
            ("error", f"{listed.hosts[1]} has no python3")
        ]
        static.close()
