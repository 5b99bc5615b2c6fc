"""A conversion's journal after any end: what is whole is given back, and one process has it."""

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest

from engine.data.convert.journal import Entry, Journal, versions
from engine.errors import UserError


def test_journal_returns_all_complete_entries(tmp_path: Path) -> None:
    path = tmp_path / "x.partial.journal"
    journal = Journal(path)
    assert list(journal.entries()) == []
    journal.start()
    entries = [
        Entry(done=0, fingerprint="f", rules={"a": "b"}),
        Entry(done=3, offset=7, rejects=[("\udcff.jpg", "empty", "why")], odd={"empty": 1}),
        Entry(done=4, offset=9, finished=(5, 6)),
    ]
    for entry in entries:
        journal.append(entry)
    journal.close()
    whole = path.read_bytes()

    def read() -> list[Entry]:
        journal = Journal(path)
        try:
            return list(journal.entries())
        finally:
            journal.close()

    def same(one: Entry, other: Entry) -> bool:
        return vars(one) | {"stored": 0} == vars(other) | {"stored": 0} and np.array_equal(
            one.stored, other.stored
        )

    found = [0] * 4
    for length in range(len(whole), -1, -1):
        path.write_bytes(whole[:length])
        back = read()
        assert all(map(same, back, entries))
        found[len(back)] += 1
        # What was cut short is gone, so that the next entry follows the last whole one.
        assert path.stat().st_size <= length
    assert found[3] == 1 and all(found)
    damaged = bytearray(whole)
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert len(read()) == 2


def test_journal_is_locked_until_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.partial.journal"
    journal = Journal(path)
    with pytest.raises(UserError, match="another conversion is writing x in"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_versions_leave_out_ffcv_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    complete, installed = versions(), importlib.metadata.version

    def without_ffcv(name: str) -> str:
        if name == "ffcv":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(importlib.metadata, "version", without_ffcv)
    assert versions() == {name: version for name, version in complete.items() if name != "ffcv"}
    assert list(complete) == sorted(complete) and "ffcv" in complete
