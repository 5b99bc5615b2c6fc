"""Which of our sides meets which peer, and what both sides' batches are when they count as ready."""

from collections.abc import Sequence

from benchmarks.harness.images.exports import EXPORTS, SOURCE
from benchmarks.sides import PEERS, SELF, check_name, our_side, peer_side
from engine.errors import UserError

ALL = "all"
"""Stands for every peer on the images' own JPEG data that can run here."""

# Shorter for the peer that the project measures itself by.
_SHORT = {"ffcv": "ffcv-jpeg"}
_OURS_AGAINST_SELF = ("jpeg",)

FORMS = {
    "host": "uint8 RGB in host memory, NHWC or as the peer has it, ready to be copied to a device",
    "cpu": "float32, normalised, NCHW in channels_last memory, on the host",
    "cuda": "float16, normalised, NCHW in channels_last memory, on the GPU",
}
_PACKED_ON_HOST = (
    "the bytes of the crops as stored, packed in host memory, ready to be copied to a device, where resizing and "
    "colour conversion are still to be done and are NOT in this figure"
)


def peer_names(stage: str) -> list[str]:
    """All that the stage's --against takes."""
    short = {name for name, peer in _SHORT.items() if peer in PEERS[stage]}
    return sorted({*PEERS[stage], *short, SELF, ALL})


def pairs(
    stage: str, against: Sequence[str], ours: Sequence[str] | None, form: str = "host"
) -> list[tuple[str, str]]:
    """(ours, peer) by name: each peer with those of `ours`, or with those it meets by default.

    Of ALL, a peer that can't run here is left out, and a line says so. Raises UserError for an unknown name, and for
    a side that was asked for by name and can't run.
    """
    for name in against:
        check_name("peer", name, peer_names(stage))
    for name in ours or ():
        if reason := our_side(stage, name).why_not(form):
            raise UserError(f"--ours {name}: {reason}")
    peers: dict[str, None] = {}
    for name in against:
        peers.update(dict.fromkeys(present(stage, form) if name == ALL else [_SHORT.get(name, name)]))
    for peer in peers:
        reason = "" if peer == SELF else peer_side(stage, peer).why_not(form)
        if reason:
            raise UserError(f"--against {peer}: {reason}")
    return [(our, peer) for peer in peers for our in ours or _usual(stage, peer)]


def present(stage: str, form: str = "host") -> list[str]:
    """All peers on the images' own JPEG data that can run here; prints a line for each other one."""
    found = []
    for name, peer in PEERS[stage].items():
        if peer.storage not in (SOURCE, *EXPORTS):
            continue
        reason = peer.why_not(form)
        if reason:
            print(f"left out: {name}: {reason}", flush=True)
        else:
            found.append(name)
    return found


def form_in_words(ours: str, peer: str, form: str) -> str:
    """What both sides' batches are when they count as ready; for "host" they may differ, and it says so."""
    packed = our_side("loader", ours).options["decoder"] == "packed"
    if form != "host" or not packed:
        return FORMS[form]
    return _PACKED_ON_HOST if peer == SELF else f"ours: {_PACKED_ON_HOST}; the peer's: {FORMS[form]}"


def _usual(stage: str, peer: str) -> tuple[str, ...]:
    return _OURS_AGAINST_SELF if peer == SELF else peer_side(stage, peer).meets
