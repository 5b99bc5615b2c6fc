"""A copy that is fetched in part must not pass for a run that has begun: what says so comes last."""

from pathlib import Path

import pytest

from engine.errors import UserError
from engine.train.checkpoints.remote_copy import RemoteCopy


@pytest.mark.parametrize("missing", ["checkpoints/epoch_001_step_000002.pt", "stage1/log.jsonl"])
def test_broken_fetch_leaves_no_log(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, folder = tmp_path / "bucket", tmp_path / "run"
    for name in ("stages.yaml", "log.jsonl", "checkpoints/epoch_001_step_000002.pt", "stage1/log.jsonl"):
        (bucket / name).parent.mkdir(parents=True, exist_ok=True)
        (bucket / name).write_text(name)
    copy = RemoteCopy(f"file://{bucket}", {}, folder)
    get, find = copy._system.get_file, copy._system.find
    # File systems promise no order; this is the worst one.
    monkeypatch.setattr(copy._system, "find", lambda root: sorted(find(root), reverse=True))

    def broken(remote: str, local: str) -> None:
        if remote.endswith(missing):
            raise OSError("the network is gone")
        get(remote, local)

    monkeypatch.setattr(copy._system, "get_file", broken)
    with pytest.raises(UserError, match="the network is gone"):
        copy.fetch()
    assert not (folder / "stages.yaml").exists()
    if missing.startswith("checkpoints"):
        assert not (folder / "log.jsonl").exists()
    monkeypatch.undo()
    assert copy.fetch()
    assert (folder / "stages.yaml").read_text() == "stages.yaml"
