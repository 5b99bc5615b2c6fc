"""A rank that does nothing but beat: `python -m tests.train.beating RANK WORLD PORT`; says "up" when all are there."""

import sys

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from engine.train.ranks.heartbeat import Heartbeat

rank, world, port = map(int, sys.argv[1:])
store = TCPStore("127.0.0.1", port, world, is_master=rank == 0)
heartbeat = Heartbeat(store, rank, world, beat=0.1, patience=1.5)
store.wait([f"beat/{other}" for other in range(world)])
print("up", flush=True)
if sys.stdin.readline():
    heartbeat.close()
    print("closed", flush=True)
    # The first rank's store has to outlive the others' heartbeats: until stdin is closed.
    sys.stdin.read()
