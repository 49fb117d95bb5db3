"""Key pairs: fingerprints as EC2 makes them, and what happens to pairs of the account, on the test cloud."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fabfile.errors import ProviderRefused
from fabfile.machines import Cluster
from fabfile.providers.ec2 import key_pairs
from fabfile.providers.ec2.api import Api
from fabfile.settings import Settings
from tests.cloud.fixtures import cloud_settings

if TYPE_CHECKING:
    from tests.cloud.server import Cloud

CLUSTER = Cluster("lab", "c0ffee", "ada@desk", 1_700_000_000.0)


def make(path: Path, *kind: str, pem: bool = False) -> str:
    """A key pair at that path; its public line."""
    words = ["ssh-keygen", "-q", "-N", "", "-C", "ada", *(kind or ("-t", "ed25519")), "-f", str(path)]
    subprocess.run([*words, *(("-m", "PEM") if pem else ())], check=True)
    return Path(f"{path}.pub").read_text().strip()


def openssl(*words: str, data: bytes = b"") -> bytes:
    return subprocess.run(("openssl", *words), input=data, capture_output=True, check=True).stdout


def own_pair(api: Api, name: str, path: Path) -> None:
    """Have EC2 make a pair of the user's own; its private half in that file."""
    path.write_text(api.ec2.create_key_pair(KeyName=name, KeyType="ed25519")["KeyMaterial"])
    path.chmod(0o600)


def names(api: Api) -> list[str]:
    return [str(pair["KeyName"]) for pair in key_pairs.describe(api)]


class TestFingerprints:
    def test_an_ed25519_key_has_opensshs_own_with_or_without_padding(self, tmp_path: Path) -> None:
        line = make(tmp_path / "key")
        shown = subprocess.run(
            ("ssh-keygen", "-lf", tmp_path / "key.pub"), capture_output=True, text=True, check=True
        ).stdout.split()[1]
        padded, bare = key_pairs.fingerprints(line)
        assert shown == f"SHA256:{bare}"
        assert padded == f"{bare}="

    def test_an_imported_rsa_key_has_the_md5_of_its_der_form(self, tmp_path: Path) -> None:
        line = make(tmp_path / "key", "-t", "rsa", "-b", "2048", pem=True)
        der = openssl("rsa", "-in", str(tmp_path / "key"), "-pubout", "-outform", "DER")
        wanted = openssl("md5", "-c", data=der).decode().split()[-1]
        assert key_pairs.fingerprints(line) == (wanted,)

    def test_an_rsa_pair_that_ec2_made_has_the_sha1_of_its_private_form(self, tmp_path: Path) -> None:
        make(tmp_path / "key", "-t", "rsa", "-b", "2048", pem=True)
        der = openssl("pkcs8", "-in", str(tmp_path / "key"), "-topk8", "-nocrypt", "-outform", "DER")
        wanted = openssl("sha1", "-c", data=der).decode().split()[-1]
        assert key_pairs.private_fingerprints((tmp_path / "key").read_bytes())[0] == wanted

    def test_what_is_no_key_or_has_a_passphrase_has_none(self, tmp_path: Path) -> None:
        assert key_pairs.private_fingerprints(b"hello") == ()
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", tmp_path / "key"), check=True)
        assert key_pairs.private_fingerprints((tmp_path / "key").read_bytes()) == ()

    @pytest.mark.parametrize(
        "kind", [("X25519",), ("ED448",), ("EC", "-pkeyopt", "ec_paramgen_curve:secp256k1")], ids=lambda kind: kind[0]
    )
    def test_a_private_key_of_a_kind_that_ec2_has_not_has_none(self, kind: tuple[str, ...]) -> None:
        assert key_pairs.private_fingerprints(openssl("genpkey", "-algorithm", *kind)) == ()

    def test_files_that_cannot_be_read_are_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / ".ssh"
        folder.mkdir()
        line = make(folder / "id_mine")
        (folder / "id_mine.pub").unlink()
        (folder / "id_afar").write_text("somebody else's")
        pair = {"KeyFingerprint": key_pairs.fingerprints(line)[0]}
        read = Path.read_bytes

        def denying(path: Path) -> bytes:
            if path.name == "id_afar":
                raise PermissionError(13, "Permission denied")
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", denying)  # modes keep nothing from root
        assert key_pairs.find_private(Settings(), pair, tmp_path) == folder / "id_mine"


class TestOfAClusters:
    def ensure(self, cloud: Cloud, line: str, **changes: Any) -> tuple[Api, str]:
        settings = cloud_settings(cloud, **changes)
        api = Api(settings)
        return api, key_pairs.ensure(api, CLUSTER, line, settings)

    def test_the_clusters_own_is_imported_once_and_carries_its_tags(self, cloud: Cloud, tmp_path: Path) -> None:
        line = make(tmp_path / "key")
        api, name = self.ensure(cloud, line)
        assert self.ensure(cloud, line)[1] == name == "ipyfleet-lab-c0ffee"
        (pair,) = key_pairs.describe(api)
        assert key_pairs.same(pair, line)
        assert {"Key": "ipyfleet:cluster", "Value": "lab"} in pair["Tags"]
        assert "ada" not in str(cloud.calls[-2].params)  # the comment says who and where, and is nobody's business

    def test_one_whose_import_was_not_answered_is_taken(self, cloud: Cloud, tmp_path: Path) -> None:
        lost = cloud.faults.lose_reply("ImportKeyPair")
        api, name = self.ensure(cloud, make(tmp_path / "key"))
        assert (lost.times, names(api)) == (0, [name])

    def test_a_name_that_another_key_has_is_refused(self, cloud: Cloud, tmp_path: Path) -> None:
        self.ensure(cloud, make(tmp_path / "one"))
        with pytest.raises(ProviderRefused, match="already, of another key"):
            self.ensure(cloud, make(tmp_path / "two"))

    def test_a_kind_that_ec2_does_not_take_goes_without_a_pair(self, cloud: Cloud, tmp_path: Path) -> None:
        api, name = self.ensure(cloud, make(tmp_path / "key", "-t", "ecdsa"))
        assert (name, names(api)) == ("", [])

    def test_a_pair_of_the_account_is_taken_when_it_is_there(self, cloud: Cloud, tmp_path: Path) -> None:
        api = Api(cloud_settings(cloud))
        own_pair(api, "mine", tmp_path / "mine.pem")
        assert self.ensure(cloud, make(tmp_path / "key"), key_pair="mine")[1] == "mine"
        assert names(api) == ["mine"]
        with pytest.raises(ProviderRefused, match=r"no key pair 'nine' in \S+; did you mean mine\?"):
            self.ensure(cloud, make(tmp_path / "other"), key_pair="nine")

    def test_it_goes_with_the_cluster_and_no_other_pair_does(self, cloud: Cloud, tmp_path: Path) -> None:
        api, _ = self.ensure(cloud, make(tmp_path / "key"))
        own_pair(api, "mine", tmp_path / "mine.pem")
        key_pairs.delete(api, "lab")
        key_pairs.delete(api, "lab")
        assert names(api) == ["mine"]


class TestOfTheAccount:
    def test_a_pair_is_removed_unless_machines_were_launched_with_it(self, cloud: Cloud, tmp_path: Path) -> None:
        api = Api(cloud_settings(cloud))
        for name in ("used", "free"):
            own_pair(api, name, tmp_path / name)
        image = api.ssm.get_parameter(Name="/aws/service/debian/release/12/latest/amd64")["Parameter"]["Value"]
        api.ec2.run_instances(ImageId=image, InstanceType="t3.small", KeyName="used", MinCount=1, MaxCount=1)
        key_pairs.remove(api, "free")
        with pytest.raises(ProviderRefused, match="1 instances were launched with the key pair used"):
            key_pairs.remove(api, "used")
        with pytest.raises(ProviderRefused, match="no key pair 'free'"):
            key_pairs.remove(api, "free")
        assert names(api) == ["used"]


class TestFindings:
    def told(self, cloud: Cloud, **changes: Any) -> list[tuple[str, str]]:
        settings = cloud_settings(cloud, **changes)
        return [(one.level, one.text) for one in key_pairs.findings(Api(settings), settings)]

    @pytest.fixture
    def mine(self, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The private half of the account's pair ``mine``; the user's home has no keys."""
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        path = tmp_path / "mine.pem"
        own_pair(Api(cloud_settings(cloud)), "mine", path)
        return path

    def test_a_pair_with_its_file_is_fine(self, cloud: Cloud, mine: Path) -> None:
        assert self.told(cloud, key_pair="mine", key_file=str(mine)) == []

    def test_a_file_that_others_may_read_is_an_error(self, cloud: Cloud, mine: Path) -> None:
        mine.chmod(0o640)
        assert self.told(cloud, key_pair="mine", key_file=str(mine)) == [
            ("error", f"{mine} may be read by others (mode 0640)")
        ]

    def test_a_file_of_another_key_is_an_error(self, cloud: Cloud, mine: Path, tmp_path: Path) -> None:
        make(tmp_path / "other")
        ((level, text),) = self.told(cloud, key_pair="mine", key_file=str(tmp_path / "other"))
        assert (level, "is not the private half" in text) == ("error", True)

    def test_a_file_that_is_not_there_is_an_error(self, cloud: Cloud, mine: Path) -> None:
        ((level, text),) = self.told(cloud, key_pair="mine", key_file="/nowhere/key")
        assert (level, text) == ("error", "/nowhere/key cannot be read: No such file or directory")

    def test_without_a_file_it_is_looked_for_where_ssh_keeps_keys(self, cloud: Cloud, mine: Path) -> None:
        ((level, text),) = self.told(cloud, key_pair="mine")
        assert (level, "neither in ~/.ssh nor in the ssh-agent" in text) == ("error", True)
        folder = Path.home() / ".ssh"
        folder.mkdir(parents=True)
        mine.rename(folder / "mine.pem")
        assert self.told(cloud, key_pair="mine") == []
        (pair,) = key_pairs.describe(Api(cloud_settings(cloud)))
        assert key_pairs.find_private(Settings(key_pair="mine"), pair) == folder / "mine.pem"

    def test_a_file_without_a_pair_has_no_effect_and_says_so(self, cloud: Cloud, mine: Path) -> None:
        assert [level for level, _ in self.told(cloud, key_file=str(mine))] == ["warning"]
