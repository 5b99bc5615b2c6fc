"""Who decodes: from records in memory to pixels, with no loader around it. One file for each kind, opened as peers are.

A side answers as those of benchmarks.peers do, but its epochs have nothing prepared ahead: a batch is begun when it is
asked for, shared out among as many threads as there are cores, and given when all of it is there.
"""

from benchmarks.exports import SOURCE
from benchmarks.peers import SELF, Contender, check_name
from engine.errors import UserError

_OURS, _BYTES = "benchmarks.decoders.ours", "benchmarks.decoders.from_bytes"

OURS = {
    "jpeg": Contender(storage="jpeg", module=_OURS, options={"how": "decode"}),
    "jpeg-kept": Contender(storage="jpeg-kept", module=_OURS, options={"how": "decode"}),
    "raw": Contender(storage="raw", module=_OURS, options={"how": "decode"}),
    "yuv420": Contender(storage="yuv420", module=_OURS, options={"how": "decode"}),
    "raw-packed": Contender(storage="raw", module=_OURS, options={"how": "pack"}),
    "yuv420-packed": Contender(storage="yuv420", module=_OURS, options={"how": "pack"}),
}
PEERS = {
    "pillow": Contender(storage=SOURCE, module=_BYTES, options={"by": "pillow"}),
    "torchvision-io": Contender(storage=SOURCE, module=_BYTES, options={"by": "torchvision-io"}),
    "opencv": Contender(storage=SOURCE, module=_BYTES, options={"by": "opencv"}),
    "simplejpeg": Contender(
        storage=SOURCE,
        module=_BYTES,
        options={"by": "simplejpeg"},
        needs=("simplejpeg",),
        package="simplejpeg",
    ),
}
_USUAL_PEER = "opencv"

# The least crop area that stands for no random crop at all.
WHOLE = 1.0


def pairs(against: list[str], ours: list[str]) -> list[tuple[str, str]]:
    """(ours, peer) by name. Raises UserError for a name that there is none of, or a peer that is not installed."""
    names = [*PEERS, SELF, "all"]
    peers: dict[str, None] = {}
    for name in against or [_USUAL_PEER]:
        check_name("peer", name, names)
        peers.update(dict.fromkeys(_present() if name == "all" else [name]))
    for name in ours:
        check_name("decoder of ours", name, OURS)
    for peer in peers:
        reason = "" if peer == SELF else PEERS[peer].why_not("host")
        if reason:
            raise UserError(f"--against {peer}: {reason}")
    return [(our, peer) for peer in peers for our in ours]


def _present() -> list[str]:
    found = []
    for name, peer in PEERS.items():
        reason = peer.why_not("host")
        if reason:
            print(f"left out: {name}: {reason}", flush=True)
        else:
            found.append(name)
    return found
