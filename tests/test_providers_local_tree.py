"""The root program's files in a machine's tree, where a link of the machine's users must lead nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabfile.providers.local.root import nspawn, tree


class TestTree:
    def test_a_file_is_placed_with_its_mode_and_its_folders(self, tmp_path: Path) -> None:
        tree.place(tmp_path, "/etc/ssh/key", "secret", mode=0o600)
        tree.place(tmp_path, "/etc/ssh/key", "new", mode=0o600)
        assert (tmp_path / "etc/ssh/key").read_text() == "new"
        assert (tmp_path / "etc/ssh/key").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "etc/ssh").stat().st_mode & 0o777 == 0o755
        assert [path.name for path in (tmp_path / "etc/ssh").iterdir()] == ["key"]

    def test_a_file_to_be_kept_is_kept(self, tmp_path: Path) -> None:
        tree.place(tmp_path, "/key", "first", keep=True)
        tree.place(tmp_path, "/key", "second", keep=True)
        assert (tmp_path / "key").read_text() == "first"

    def test_a_link_in_place_of_the_file_is_replaced_and_not_followed(self, tmp_path: Path) -> None:
        root, outside = tmp_path / "root", tmp_path / "outside"
        root.mkdir()
        outside.write_text("untouched")
        (root / "hosts").symlink_to(outside)
        (root / ".hosts.ipyfleet").symlink_to(outside)
        tree.place(root, "/hosts", "ours")
        assert outside.read_text() == "untouched"
        assert not (root / "hosts").is_symlink()

    def test_a_link_in_place_of_a_folder_is_refused(self, tmp_path: Path) -> None:
        root, outside = tmp_path / "root", tmp_path / "outside"
        for folder in (root, outside):
            folder.mkdir()
        (root / "etc").symlink_to(outside)
        with pytest.raises(OSError, match="etc"):
            tree.place(root, "/etc/hosts", "ours")
        assert list(outside.iterdir()) == []

    @pytest.mark.parametrize("kind", ["link", "pipe", "folder", "nothing", "no folder"])
    def test_only_plain_files_are_read(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / "secret").write_text("secret")
        folder = tmp_path / "root" / "ssh"
        folder.parent.mkdir()
        if kind != "no folder":
            folder.mkdir()
        make = {
            "link": lambda path: path.symlink_to(tmp_path / "secret"),
            "pipe": os.mkfifo,
            "folder": Path.mkdir,
        }
        make.get(kind, lambda path: None)(folder / "keys")
        assert tree.content(tmp_path / "root", "/ssh/keys") == ""

    def test_a_key_is_added_once_and_others_stay(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nspawn, "USER_ID", os.getuid())
        keys = tmp_path / nspawn.KEYS[1:]
        keys.parent.mkdir(parents=True)
        keys.write_text("ssh-rsa OWN user@there\n")
        for comment in ("one", "two"):
            nspawn.authorize(tmp_path, [f"ssh-ed25519 NEW {comment}"])
        assert keys.read_text() == "ssh-rsa OWN user@there\nssh-ed25519 NEW one\n"
