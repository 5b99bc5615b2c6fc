"""A conversion interrupted while it renames its files or removes its journals is resumed."""

from pathlib import Path

import pytest

from engine.data.convert import partial_file
from engine.errors import UserError
from tests.data.conversions import converted, names

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("renamed", [["val"], ["train", "val"]])
def test_interrupted_renaming_is_resumed(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: list[str]
) -> None:
    rename, forget = partial_file.Partial.rename, partial_file.Partial.forget

    def ending(self: partial_file.Partial) -> None:
        if not any(self.path.name.startswith(split) for split in renamed):
            raise KeyboardInterrupt
        rename(self)

    def interrupted(self: partial_file.Partial) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(partial_file.Partial, "rename", ending)
    monkeypatch.setattr(partial_file.Partial, "forget", interrupted)
    with pytest.raises(KeyboardInterrupt):
        converted(pets, tmp_path / "out")
    assert {f"{split}.beton" for split in renamed} <= set(names(tmp_path / "out"))
    monkeypatch.setattr(partial_file.Partial, "rename", rename)
    monkeypatch.setattr(partial_file.Partial, "forget", forget)
    assert converted(pets, tmp_path / "out") == converted(pets, tmp_path / "fresh")
    assert names(tmp_path / "out") == ["train.beton", "val.beton"]


def _ended_after_one_journal(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that ends when both files have their names and the first journal is removed."""
    forget = partial_file.Partial.forget

    def interrupted(self: partial_file.Partial) -> None:
        if not self.path.name.startswith("val"):
            raise KeyboardInterrupt
        forget(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(partial_file.Partial, "forget", interrupted)
        converted(source, folder)
    assert names(folder) == ["train.beton", "train.beton.partial.journal", "val.beton"]


def test_interrupted_removal_of_journals_keeps_the_files(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    _ended_after_one_journal(pets, tmp_path / "out", monkeypatch)
    assert converted(pets, tmp_path / "out") == converted(pets, tmp_path / "fresh")
    assert "both files in" in capsys.readouterr().out
    assert names(tmp_path / "out") == ["train.beton", "val.beton"]


def test_other_settings_beside_complete_files_are_refused(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ended_after_one_journal(pets, tmp_path / "out", monkeypatch)
    before = (tmp_path / "out" / "val.beton").read_bytes()
    with pytest.raises(UserError, match=r"val\.beton exists already"):
        converted(pets, tmp_path / "out", seed=5)
    assert (tmp_path / "out" / "val.beton").read_bytes() == before
