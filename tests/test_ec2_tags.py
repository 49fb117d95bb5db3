"""What everything of ours in an account says of itself, and what is believed when it is read back."""

from __future__ import annotations

import pytest

from fabfile.machines import Cluster
from fabfile.providers.ec2 import tags

LAB = Cluster("lab", "c0ffee", "me@here", 1_700_000_000.25)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAGKWgLV9ROzOgbmsJ0UrPV3VbDKVC6apMpt6QaTqmBO"


def launch(**changes: object) -> dict[str, str]:
    return {**tags.of_launch(LAB, (), "engine", (4, 5), 2, "admin", f"{KEY} boot"), **changes}  # type: ignore[dict-item]


def resource(its_tags: dict[str, str]) -> dict[str, object]:
    return {"Tags": tags.pairs(its_tags)}


class TestWritten:
    def test_what_is_written_is_read_back(self) -> None:
        read = tags.read(resource(launch()))
        assert tags.cluster_of(read) == LAB
        assert tags.machine_tags(read) == tags.MachineTags("engine", 4, 5, 2, "admin", KEY)

    def test_the_lease_is_told_from_the_launch_on_until_it_is_taken_away(self) -> None:
        leased = tags.of_launch(LAB, (), "engine", (4, 5), 2, "admin", KEY, 28800.0)
        assert tags.machine_tags(leased).lease == 28800.0
        assert tags.machine_tags({**leased, **tags.deadline(None)}).lease is None

    def test_the_users_tags_are_there_and_take_the_place_of_none_of_ours(self) -> None:
        written = tags.of_cluster(LAB, (("project", "spectra"), (tags.ID, "stolen")))
        assert written["project"] == "spectra"
        assert written[tags.ID] == "c0ffee"

    @pytest.mark.parametrize(
        ("role", "indexes", "name"),
        [
            ("controller", (0,), "lab controller"),
            ("engine", (7,), "lab engine-7"),
            ("engine", (7, 8), "lab engine"),
        ],
    )
    def test_people_see_a_name(self, role: str, indexes: tuple[int, ...], name: str) -> None:
        assert tags.of_launch(LAB, (), role, indexes, 0, "admin", KEY)["Name"] == name  # type: ignore[arg-type]

    def test_every_value_fits_into_a_tag_whoever_made_the_cluster(self) -> None:
        long = Cluster("a" * 31, "c0ffee", "somebody@" + "very-long-name" * 40, LAB.created)
        assert max(len(value) for value in tags.of_launch(long, (), "engine", (0,), 0, "admin", KEY).values()) <= 256

    def test_two_host_keys_fit_into_their_tag_and_come_back_without_comment(self) -> None:
        packed = tags.host_keys([f"{KEY} one", OTHER])
        assert tags.machine_tags(launch(**packed)).host_keys == (KEY, OTHER)

    def test_keys_that_do_not_fit_are_an_error_and_not_cut(self) -> None:
        with pytest.raises(ValueError, match="do not fit"):
            tags.host_keys([KEY] * 4)

    @pytest.mark.parametrize("when", [1_800_000_000.0, None])
    def test_the_end_of_a_lease_and_its_absence(self, when: float | None) -> None:
        assert tags.machine_tags(launch(**tags.deadline(when))).deadline == when

    def test_each_kind_of_resource_is_given_the_tags(self) -> None:
        assert tags.specification({"a": "b"}, "instance", "volume") == [
            {"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]},
            {"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "b"}]},
        ]

    def test_one_cluster_is_asked_for_by_its_name_and_all_by_the_tags_presence(self) -> None:
        assert tags.filters("lab") == [{"Name": "tag:ipyfleet:cluster", "Values": ["lab"]}]
        assert tags.filters() == [{"Name": "tag-key", "Values": ["ipyfleet:cluster"]}]


class TestReadBack:
    def test_what_has_no_tags_is_not_ours(self) -> None:
        assert tags.cluster_of(tags.read({})) is None
        assert tags.cluster_of(tags.read({"Tags": None})) is None

    @pytest.mark.parametrize("created", ["", "yesterday", "nan", "inf", "-1", "1e300"])
    def test_a_time_that_is_none_is_zero(self, created: str) -> None:
        cluster = tags.cluster_of(launch(**{tags.CREATED: created}))
        assert cluster is not None
        assert cluster.created == 0.0

    def test_nothing_that_a_terminal_would_obey_is_shown(self) -> None:
        cluster = tags.cluster_of(launch(**{tags.OWNER: "me\x1b[2J", tags.ID: "a\nb"}))
        assert cluster == Cluster("lab", "", "somebody unknown", LAB.created)
        assert tags.cluster_of(launch(**{tags.CLUSTER: "lab\x1b[2J"})) is None

    @pytest.mark.parametrize("first", ["", "-1", "1.5", "٣", "99999999999", "x"])
    def test_an_index_that_is_none_says_nothing(self, first: str) -> None:
        assert tags.machine_tags(launch(**{tags.FIRST: first})).first == -1

    def test_a_role_that_is_none_says_nothing(self) -> None:
        assert tags.machine_tags(launch(**{tags.ROLE: "boss"})).first == -1

    @pytest.mark.parametrize(
        "key", ["x", "ssh-ed25519", f"{KEY} extra", "ssh-rsa " + KEY.split()[1], "ssh-ed25519 AAAA", f"* {KEY}"]
    )
    def test_a_host_key_that_is_none_is_pinned_nowhere(self, key: str) -> None:
        read = tags.machine_tags(launch(**{tags.HOST_KEYS: key, tags.BOOT_KEY: key}))
        assert (read.host_keys, read.boot_key) == ((), "")

    @pytest.mark.parametrize("user", ["-oProxyCommand=x", "me@other", "Root", ""])
    def test_a_login_name_that_is_none_is_not_used(self, user: str) -> None:
        assert tags.machine_tags(launch(**{tags.USER: user})).user == ""
