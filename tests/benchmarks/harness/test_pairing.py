"""Pairs of ours and peers: defaults, missing peers, forms."""

import pytest

from benchmarks.harness.pairing import form_in_words, pairs, peer_names, present
from benchmarks.sides import OURS, PEERS, SELF, Side
from engine.errors import UserError


def test_peer_is_paired_with_usual_or_given_sides() -> None:
    usual = [(ours, "ffcv-jpeg") for ours in ("jpeg", "yuv420", "yuv420-packed")]
    assert pairs("loader", ["ffcv"], None) == pairs("loader", ["ffcv-jpeg", "ffcv"], None) == usual
    assert pairs("loader", ["ffcv-raw", "self"], None) == [
        ("raw", "ffcv-raw"),
        ("raw-packed", "ffcv-raw"),
        ("jpeg", "self"),
    ]
    assert pairs("loader", ["ffcv", "self"], ["raw"]) == [("raw", "ffcv-jpeg"), ("raw", "self")]


def test_form_names_unfinished_work_of_packed_crops() -> None:
    assert "NOT in this figure" in form_in_words("yuv420-packed", "ffcv-jpeg", "host")
    # Both sides need the same still, or neither does.
    assert "peer" not in form_in_words("yuv420-packed", "self", "host")
    assert "NOT" not in form_in_words("yuv420-packed", "ffcv-jpeg", "cuda")
    assert len({form_in_words(ours, "ffcv-jpeg", "host") for ours in OURS["loader"]}) == 2


FREE = ["ffcv-jpeg-kept", "torchvision-pil", "torchvision-io", "timm"]


def test_missing_peer_is_left_out_or_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs = ("json", "no_such_module.io")
    gone = Side(entry="nowhere:open_side", storage="files", needs=needs, package="no-such-package")
    monkeypatch.setitem(PEERS["loader"], "gone", gone)
    assert "gone" not in present("loader")
    printed = capsys.readouterr().out
    assert "left out: gone: it is not installed: pip install no-such-package" in printed
    assert "left out: dali-gpu: " in printed
    with pytest.raises(
        UserError, match=r"^--against gone: it is not installed: pip install no-such-package$"
    ):
        pairs("loader", ["gone"], None)
    everybody = {peer for _, peer in pairs("loader", ["all"], None)}
    assert everybody >= set(FREE)
    # These read JPEG data that was encoded anew, or none.
    assert everybody.isdisjoint({"gone", "ffcv-jpeg", "ffcv-raw"})


def test_side_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        PEERS["loader"], "gpu-only", Side(entry="nowhere:open_side", storage="files", forms=("cuda",))
    )
    with pytest.raises(UserError, match="--against gpu-only: its batches end as cuda, not as host"):
        pairs("loader", ["gpu-only"], None)
    assert pairs("loader", ["gpu-only"], ["raw"], "cuda") == [("raw", "gpu-only")]
    monkeypatch.setitem(OURS["loader"], "ours-on-gpu", Side(entry="nowhere:open_side", forms=("cuda",)))
    with pytest.raises(UserError, match="--ours ours-on-gpu: its batches end as cuda, not as host"):
        pairs("loader", ["ffcv"], ["ours-on-gpu"])
    assert pairs("loader", ["ffcv"], ["ours-on-gpu"], "cuda") == [("ours-on-gpu", "ffcv-jpeg")]


@pytest.mark.parametrize("stage", ["loader", "decode"])
def test_every_peer_is_paired_with_our_sides(stage: str) -> None:
    for name in set(peer_names(stage)) - {"all", "ffcv"}:
        peer = PEERS[stage].get(name)
        if peer is None or not peer.why_not("cuda"):
            ours = [our for our, _ in pairs(stage, [name], None, "cuda")]
            assert ours and set(ours) <= set(OURS[stage]), name
    assert SELF in peer_names(stage)
    assert ("ffcv" in peer_names(stage)) == (stage == "loader")
