"""Settings: precedence, and that every mistake is named together with its cure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fabfile import yamlfile
from fabfile.errors import UsageError
from fabfile.kinds import seconds
from fabfile.owned import REASONS
from fabfile.settings import PROJECT_FILE, Settings, load, resolve
from tests.settings_file import complaint
from tests.settings_file import own_home as own_home
from tests.settings_file import users_file as users_file

KEY = "ssh-ed25519 " + "A" * 68


# -- the reference and the precedence ---------------------------------------------------------------------------------


def test_the_reference_names_exactly_the_fields_of_settings() -> None:
    section = yamlfile.read(PROJECT_FILE).values["ipyfleet"]
    assert section.keys() - {"templates"} == {field.name for field in fields(Settings)}


def test_the_reference_and_the_dataclass_have_the_same_defaults() -> None:
    assert load(environ={}) == Settings()


def test_the_reference_says_one_line_about_each_key() -> None:
    lines = PROJECT_FILE.read_text().splitlines()
    for field in fields(Settings):
        (line,) = [line for line in lines if line.startswith(f"  {field.name}:")]
        assert "  # " in line, line
    assert max(map(len, lines)) <= 120


def test_invoke_itself_can_load_the_reference() -> None:
    from invoke.config import Config

    config = Config(project_location=str(PROJECT_FILE.parent))
    config.load_project()
    config.load_shell_env()
    assert config.run.in_stream is False
    assert config.ipyfleet.engines == 4


def test_each_source_beats_the_weaker_ones(users_file: Callable[[str], Path]) -> None:
    users_file("engines: 5\ntemplates: {big: {engines: 6}}\n")
    assert load(environ={}).engines == 5
    assert load({"template": "big"}, environ={}).engines == 6
    assert load({"template": "big"}, environ={"IPYFLEET_ENGINES": "7"}).engines == 7
    assert load({"template": "big", "engines": "8"}, environ={"IPYFLEET_ENGINES": "7"}).engines == 8


def test_each_value_knows_where_it_came_from(users_file: Callable[[str], Path]) -> None:
    path = users_file("cluster: lab\ntemplates:\n  big:\n    engines: 6\n")
    origins = resolve({"template": "big", "min-engines": "2"}, environ={"IPYFLEET_PACKER": "json"}).origins
    assert origins.keys() == {field.name for field in fields(Settings)}
    assert origins["cluster"] == f"{path} line 1 (cluster)"
    assert origins["engines"] == f"{path} line 4 (templates.big.engines)"
    assert (origins["min_engines"], origins["packer"]) == ("--min-engines", "IPYFLEET_PACKER")
    assert origins["patience"].startswith(f"{PROJECT_FILE} line ")


def test_empty_options_and_variables_count_as_not_given() -> None:
    assert load({"engines": "", "cluster": ""}, environ={"IPYFLEET_PACKER": ""}) == Settings()


def test_missing_or_foreign_defaults_are_said_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "invoke.yaml"
    with pytest.raises(UsageError, match=r"invoke\.yaml, which holds the defaults, is missing\n.*`pip install -e \.`"):
        load(environ={}, project_file=path)
    path.write_text("run: {echo: true}\n")
    with pytest.raises(UsageError, match=r"has no section ipyfleet\n.*`pip install -e \.`"):
        load(environ={}, project_file=path)


# -- mistakes ---------------------------------------------------------------------------------------------------------


def test_all_complaints_come_at_once(users_file: Callable[[str], Path]) -> None:
    path = users_file("encryption: none\ntemplates:\n  big:\n    enginse: 3\n")
    said = complaint({"engines": "0"}, environ={"IPYFLEET_PATIENCE": "soon"})
    assert "4 settings cannot be used, nothing was changed" in said
    assert f"{path} line 1 (encryption): encryption must be one of curve, hmac, not 'none'" in said
    assert f"{path} line 4 (templates.big.enginse): no such setting: enginse; did you mean engines?" in said
    assert "IPYFLEET_PATIENCE: patience must be a time from 1s to 10m" in said
    assert "--engines: engines must be a whole number from 1 to 10000, not '0'" in said


@pytest.mark.parametrize("engines", ["0", "-1", "x", "1.5", "10001", "1e3", "٣"])
def test_a_number_of_engines_that_cannot_be_is_refused(engines: str) -> None:
    assert f"--engines: engines must be a whole number from 1 to 10000, not {engines!r}" in complaint(
        {"engines": engines}
    )


@pytest.mark.parametrize("name", ["Lab", "1lab", "-lab", "lab-", "lab_2", "lab/../x", "läb", "a" * 32, "lab\n"])
def test_a_cluster_name_that_is_no_name_is_refused(name: str) -> None:
    said = complaint({"cluster": name})
    assert "--cluster: cluster must be a name of at most 31 lower-case letters" in said
    assert repr(name) in said


@pytest.mark.parametrize("name", ["a", "lab-2", "a" * 31])
def test_a_cluster_name_that_is_a_name_is_taken(name: str) -> None:
    assert load({"cluster": name}, environ={}).cluster == name


@pytest.mark.parametrize(
    ("key", "value", "cure"),
    [
        ("provider", "locl", "must be one of local, static, ec2, triton; did you mean local?, not 'locl'"),
        ("encryption", "CURVE", "must be one of curve, hmac; did you mean curve?, not 'CURVE'"),
        ("packer", "msgpack", "must be one of json, orjson"),
        ("first_port", "80", "must be a whole number from 1024 to 65518, not '80'"),
        ("first_port", "65519", "must be a whole number from 1024 to 65518"),
        ("engines_per_machine", "-1", "must be a whole number from 0 to 1024"),
        ("patience", "off", "must be a time from 1s to 10m, like 20s, 90m, 8h or a number of seconds, not 'off'"),
        ("heartbeat", "0", "must be a time from 10ms to 10s"),
        ("lease", "8 hours", "or off, not '8 hours'"),
        ("boot_timeout", "nan", "must be a time from 1s to 1d"),
        ("release", "12; reboot", "must be the code name of a release, like bookworm"),
        ("subnets", "10.203.0.0/25", "must be a private IPv4 network of 256 addresses or more"),
        ("subnets", "8.8.0.0/16", "must be a private IPv4 network of 256 addresses or more"),
        ("subnets", "127.0.0.0/8", "must be a private IPv4 network of 256 addresses or more"),
        ("subnets", "10.203.4.0/16", "did you mean 10.203.0.0/16?"),
        ("hosts", "me@one,-oProxyCommand=x", "has '-oProxyCommand=x', which is not a host like user@host"),
        (
            "hosts",
            "one:0,two:70000",
            "has 'one:0', which is not a host like user@host or user@host:2222, and has 'two:",
        ),
        ("hosts", "one,two,one", "has 'one' twice"),
        ("controller_host", "a b", "has 'a b', which is not a host"),
        ("packages", "numpy,--index-url=x", "has '--index-url=x', which is not a Python package like scipy"),
        ("engine_env", "OMP_NUM_THREADS", "must give OMP_NUM_THREADS a text or number"),
        ("engine_env", "2X=1", "has '2X', which cannot be the name of a variable"),
        (
            "engine_env",
            "IPP_CONNECTION_INFO=x",
            "has IPP_CONNECTION_INFO, which is set by ipyfleet itself: leave it out",
        ),
        ("engine_env", "A=x\ny", "has A with a line break"),
        ("ssh_keys", "~/nowhere.pub", "has '~/nowhere.pub', which is not a file that can be read"),
        ("ssh_keys", "ssh-ed25519 short", "which is no SSH public key"),
    ],
)
def test_an_impossible_value_is_refused_with_its_cure(key: str, value: str, cure: str) -> None:
    said = complaint({key: value})
    assert f"--{key.replace('_', '-')}: {key} " in said
    assert cure in said
    assert f"IPYFLEET_{key.upper()}: {key} " in complaint(environ={f"IPYFLEET_{key.upper()}": value})


@pytest.mark.parametrize("value", ["TOKEN=s3cret,B", "TOKEN=s3cret\a"])
def test_what_a_variable_for_engines_holds_is_not_told_with_what_is_wrong(value: str) -> None:
    said = complaint({"engine_env": value})
    assert "--engine-env: engine_env " in said
    assert "s3cret" not in said


def test_values_that_contradict_each_other_are_refused() -> None:
    said = complaint({"engines": "4", "min_engines": "5", "patience": "1s"}, environ={"IPYFLEET_HEARTBEAT": "1s"})
    assert "--min-engines: min_engines 5 is more than engines 4 (--engines)" in said
    assert "--patience: patience 1s is less than 20 heartbeats of 1s (IPYFLEET_HEARTBEAT)" in said
    assert "provider static needs hosts" in complaint({"template": "static"})
    assert "image must be the id of an image" in complaint({"template": "ec2", "image": "base-64-lts"})
    assert "IPYFLEET_HOSTS=user@one,user@two" in complaint({"template": "static"})
    assert "join: metadata is for the provider triton, not for local" in complaint({"join": "metadata"})
    secret = complaint({"template": "triton", "join": "metadata"})
    assert "say `allow_secret_in_metadata: true` if that may be" in secret
    assert load({"template": "triton", "join": "metadata", "allow_secret_in_metadata": "yes"}).join == "metadata"


def test_unknown_variables_are_named_with_the_nearest_one_except_the_documented_others() -> None:
    said = complaint(environ={"IPYFLEET_ENGINE": "3"})
    assert "IPYFLEET_ENGINE: no such setting; did you mean IPYFLEET_ENGINES?" in said
    assert "IPYFLEET_HOM: no such setting; did you mean IPYFLEET_HOME?" in complaint(environ={"IPYFLEET_HOM": "/x"})
    others = {"IPYFLEET_HOME": "/x", "IPYFLEET_TEST_DATA": "/x", "IPYFLEET_ROOT": "/x", "IPYFLEET_CONFIG": ""}
    assert load(environ=others) == Settings()


def test_the_spelling_that_only_invoke_or_fab_would_read_is_an_error() -> None:
    for prefix in ("INVOKE_", "FABRIC_"):
        said = complaint(environ={f"{prefix}IPYFLEET_ENGINES": "8"})
        assert f"{prefix}IPYFLEET_ENGINES: is not read; the variable is called IPYFLEET_ENGINES" in said


def test_a_template_inside_a_template_is_an_unknown_key(users_file: Callable[[str], Path]) -> None:
    users_file("templates: {big: {template: local}}\n")
    assert "(templates.big.template): no such setting: template" in complaint()


def test_a_private_key_among_the_public_ones_is_refused_and_not_shown(users_file: Callable[[str], Path]) -> None:
    users_file("ssh_keys:\n- |\n  -----BEGIN OPENSSH PRIVATE KEY-----\n  c2VjcmV0\n")
    said = complaint()
    assert "ssh_keys has a private key, which is no SSH public key" in said
    assert "c2VjcmV0" not in said


def test_a_public_key_may_be_given_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "id.pub"
    path.write_text(f"{KEY} me@here\n")
    assert load({"ssh_keys": str(path)}, environ={}).ssh_keys == (f"{KEY} me@here",)


# -- options of ipyparallel that the project owns ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        *("--ip=0.0.0.0", "--IPController.engine_ip=1.2.3.4", "--ports=1-9", "--IPController.client_ports=1-9"),
        *("--reuse", "--restore", "--IPController.restore_engines=True", "--ssh=me@x", "--enginessh=me@x"),
        *("--location=x", "--IPController.location=x", "--cluster-id=x", "--BaseParallelApplication.cluster_id=x"),
        *("--profile-dir=/x", "--ProfileDir.location=/x", "--ident=x", "--Session.session=x", "--Session.key=x"),
        *("--keyfile=/x", "--no-secure", "--IPController.enable_curve=False", "--IPController.curve_secretkey=x"),
        *("--config=/x", "--init", "--ping=3000", "--HeartMonitor.period=9", "--Session.packer=pickle"),
    ],
)
def test_an_owned_option_of_the_controller_is_refused_by_name(option: str) -> None:
    assert f"controller_options has {option.partition('=')[0]}, which is" in complaint({"controller_options": option})


@pytest.mark.parametrize(
    "option",
    [
        *("--file=/x", "--IPEngine.url_file=/x", "--IPEngine.url_file_name=x", "--url=tcp://x", "--timeout=3"),
        *("--IPEngine.timeout=3", "--IPEngine.sshserver=x", "--sshkey=/x", "--IPEngine.id=3", "--user=x"),
        *("--IPEngine.curve_serverkey=x", "--IPEngine.max_heartbeat_misses=3", "--Application.show_config=True"),
    ],
)
def test_an_owned_option_of_an_engine_is_refused_by_name(option: str) -> None:
    assert f"engine_options has {option.partition('=')[0]}, which is" in complaint({"engine_options": option})


@pytest.mark.parametrize("option", ["", "-c=x", "--ident x", "ident", "--a=x\n--b=y", "--=x"])
def test_an_option_that_is_not_one_word_is_refused(users_file: Callable[[str], Path], option: str) -> None:
    users_file(f"engine_options: [{json.dumps(option)}]\n")
    assert "which is not an option in one word like --Class.name=value" in complaint()


def test_other_options_pass_unchanged() -> None:
    options = "--IPEngine.startup_script=/srv/start.py,--log-level=DEBUG,--SQLiteDB.location=/srv,--mpi"
    assert load({"engine_options": options}, environ={}).engine_options == tuple(options.split(","))


def test_every_owned_option_exists_in_ipyparallel() -> None:
    said = "".join(
        subprocess.run(
            [sys.executable, "-m", f"ipyparallel.{program}", "--help-all"], capture_output=True, text=True, check=True
        ).stdout
        for program in ("controller", "engine")
    )
    offered = {
        line.split("=")[0].lstrip("-").rpartition(".")[2].replace("-", "_").strip()
        for line in said.splitlines()
        if line.startswith("-")
    }
    assert REASONS.keys() - offered == {"help", "help_all", "version"}


# -- properties -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("", 1)]))
def test_a_time_is_its_number_times_its_unit(number: int, unit: tuple[str, float]) -> None:
    assert seconds(f"{number}{unit[0]}") == pytest.approx(number * unit[1])


@given(st.sampled_from([field.name for field in fields(Settings)]), st.text(min_size=1, max_size=40))
@hypothesis_settings(max_examples=300, deadline=None)
def test_no_option_gives_anything_but_settings_or_a_usage_error_that_names_it(key: str, value: str) -> None:
    option = said = f"--{key.replace('_', '-')}"
    try:
        load({key: value}, environ={})
    except UsageError as error:
        said = str(error)
    assert option in said
