"""The one file for a bug report: what is in it, what is not, how it comes to be there."""

from __future__ import annotations

import errno
import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from fabfile import bundle
from fabfile.errors import UsageError
from fabfile.redaction import Redaction, Secrets

KEY = "0123456789abcdef" * 4
SECRETS = Secrets(frozenset({KEY}))


def opened(data: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        streams = [(one.name, archive.extractfile(one)) for one in archive]
        return {name: stream.read().decode(errors="replace") for name, stream in streams if stream}


def test_texts_go_in_and_a_secret_in_a_line_or_a_name_does_not() -> None:
    data = bundle.packed({"machines/a/x.log": f"one\nkey {KEY}\n", f"{KEY}.txt": "ü\udc80"}, SECRETS, "report")
    assert KEY.encode() not in gzip.decompress(data)
    assert opened(data)["report/machines/a/x.log"] == "one\nkey [secret removed]\n"
    assert opened(data)["report/removed.txt"] == "Secrets that were taken out: 1 in machines/a/x.log\n"


def test_without_the_redaction_the_secret_would_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Redaction, "__call__", lambda self, data: (data, 0))
    assert KEY.encode() in gzip.decompress(bundle.packed({"x.log": KEY}, SECRETS, "report"))


def test_it_tells_nothing_of_who_made_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(bundle.packed({"a": "b"}, SECRETS, "report"))) as archive:
        assert {(one.uid, one.gid, one.uname, one.gname, one.mode) for one in archive} == {(0, 0, "", "", 0o600)}


def test_the_file_is_for_its_owner_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        bundle.put(tmp_path / "x.tar.gz", b"data")
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]
    assert (tmp_path / "x.tar.gz").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "x.tar.gz").read_bytes() == b"data"


@pytest.mark.parametrize("linking", [True, False])
def test_a_file_that_appeared_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linking: bool) -> None:
    def refuse(*names: str) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not linking:
        monkeypatch.setattr(os, "link", refuse)
        bundle.put(tmp_path / "other.tar.gz", b"data")
        assert (tmp_path / "other.tar.gz").read_bytes() == b"data"
    path = tmp_path / "x.tar.gz"
    path.write_text("mine")
    with pytest.raises(UsageError):
        bundle.put(path, b"data")
    assert path.read_text() == "mine"
    assert not [one.name for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_a_name_that_cannot_be_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "there.tar.gz").symlink_to("nowhere")
    for named, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "x.zip", "no name of a tar file"),
        (tmp_path / "no" / "x.tar.gz", "there is no folder"),
        (tmp_path / "there.tar.gz", "is there already"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            bundle.wanted(str(named))
        assert caught.value.hint
    assert bundle.wanted(str(tmp_path / "x.tgz")) == tmp_path / "x.tgz"
