"""`python -m benchmarks remote`: epochs over data on a server behind a line of a given speed, ours and others.

The same records lie on one server of static files (nginx) as a .beton, as litdata's chunks and as tar shards. A proxy
between it and the sides limits the speed and adds the delay. In each round each side begins with an empty
cache: the first epoch, which downloads, then a second one. Loading alone, without a training step: on a CPU a real step
would be the limit.

`line` is curl, which says what the line gives on this machine now; `local` is our loader on the local file.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np

from benchmarks.harness import arguments as opt
from benchmarks.harness.images.prepared import link_tree, unpack
from benchmarks.harness.images.repeat import repeat_records
from benchmarks.harness.method import LEAST_ROUNDS, failed, paired
from benchmarks.harness.processes.usage import MachineLoad
from benchmarks.harness.run_records import RunRecords
from benchmarks.harness.slow_line import slow_line
from benchmarks.records.layouts import Record
from engine.errors import UserError
from engine.limits import usable_cores

_SCRIPT = Path(__file__).parents[1] / "sides" / "remote_streams.py"
_ROOT = Path(__file__).parents[2]
_PEERS = ("litdata", "webdataset")
_BUCKET = "bucket"
# A side that did not run at all for so many seconds, in a round, is timed again, so often.
_HALTED, _TRIES = 2.0, 3
_NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000; default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def main(argv: Sequence[str]) -> int:
    """Measure, save and print the records; returns the exit code."""
    options = _parse(argv)
    records = RunRecords(options.json)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        peers = [peer for peer in options.against if _is_there(peer, options.python)]
        task = _prepare(folder, peers, options)
        with _nginx(folder, options.nginx) as server, ExitStack() as owned:
            sides = {
                name: _SideProcess(name, task, options.python if name in _PEERS else sys.executable)
                for name in ("bare", "ours", "local", *peers)
            }
            for side in sides.values():
                owned.callback(side.close)
            for speed in options.megabytes:
                print(f"{speed:g} MB/s, {options.milliseconds:g} ms:", end="", flush=True)
                with MachineLoad(usable_cores()) as load:
                    measured, again = _rounds(sides, server, speed, options)
                for facts, figures in _compared(measured, again, peers, speed, task, options):
                    records.add(facts, figures, load.facts)
    return records.end()


def _is_there(peer: str, python: str) -> bool:
    found = subprocess.run([python, "-c", f"import {peer}"], capture_output=True, check=False).returncode == 0
    if not found:
        print(f"{peer} is not installed for {python}: left out", flush=True)
    return found


def _prepare(folder: Path, peers: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """The data on the server, in each layout; returns what all sides are told."""
    from engine.config.write import OutputConfig, SourceConfig, WriteConfig
    from engine.data.beton.reader import open_beton
    from engine.data.convert.conversion import convert

    (folder / "photos").mkdir()
    root = folder / "www" / _BUCKET
    root.mkdir(parents=True)
    photos = unpack(options.data, 512, folder / "photos")
    link_tree(photos, len(photos), folder / "tree")
    output = OutputConfig(folder=str(folder / "beton"), format="yuv420", short_side=256)
    once = convert(WriteConfig(source=SourceConfig(path=str(folder / "tree")), output=output))["train"]
    mean = float(open_beton(once).sizes.mean())
    repeat_records(once, root / "train.beton", int(options.size * 1e6 / mean))
    beton = open_beton(root / "train.beton")
    spans = folder / "spans.json"
    spans.write_text(
        json.dumps(np.stack([beton.images["data_ptr"], beton.sizes], axis=1).astype(int).tolist())
    )
    task: dict[str, Any] = {
        "local": str(root / "train.beton"),
        "name": "train.beton",
        "size": beton.file_size,
        "records": int(beton.sizes.sum()),
        "images": beton.num_samples,
        "bucket": _BUCKET,
        "window": options.window * 2**20,
        "batch": 64,
        "cores": usable_cores(),
        "workers": max(2, usable_cores()),
        "folder": str(root),
        "spans": str(spans),
        "layouts": list(peers),
    }
    subprocess.run([options.python, str(_SCRIPT), "write", json.dumps(task)], check=True)
    task["shards"] = sorted(path.name for path in (root / "webdataset").glob("*.tar"))
    return task


@contextmanager
def _nginx(folder: Path, nginx: str) -> Iterator[str]:
    """Serves folder/www; gives host:port."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    (folder / "nginx").mkdir()
    # Its workers may be another user's.
    os.chmod(folder, 0o755)
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder / "nginx", port=port, root=folder / "www"))
    with subprocess.Popen([nginx, "-p", str(folder / "nginx"), "-c", str(config)]) as process:
        try:
            for _ in range(100):
                try:
                    urlopen(f"http://127.0.0.1:{port}/{_BUCKET}/").close()
                except URLError as error:
                    if "refused" not in str(error):
                        break
                    time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _rounds(
    sides: "dict[str, _SideProcess]", server: str, speed: float, options: argparse.Namespace
) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """Each side's results, a round after the other, and how many were made again."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    repeated = 0
    for _ in range(options.rounds):
        # A fresh line, so that none begins with what another left in it.
        with (
            slow_line(server, speed, options.milliseconds) as line,
            tempfile.TemporaryDirectory(dir=options.folder) as cache,
        ):
            for name, side in sides.items():
                for _ in range(_TRIES):
                    result = side.ask(
                        http=f"http://127.0.0.1:{line.port}/{_BUCKET}",
                        cache=f"{cache}/{name}",
                        epochs=1 if name == "bare" else 2,
                    )
                    if result.get("halted_seconds", 0.0) < _HALTED:
                        break
                    # Another program has stopped it: what it took says nothing.
                    repeated += 1
                found[name].append(result)
        said = [f"{_rate(one[-1], 0):.1f}" if "epochs" in one[-1] else "failed" for one in found.values()]
        print(f" {'/'.join(said)}", end="", flush=True)
    print(flush=True)
    return found, repeated


class _SideProcess:
    """A side's process, for all rounds: what it imports takes longer than a round."""

    def __init__(self, name: str, task: dict[str, Any], python: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [python, str(_SCRIPT), name, json.dumps(task)],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **rest: Any) -> dict[str, Any]:
        """The result of a round."""
        assert self._process.stdin and self._process.stdout
        if self._process.poll() is not None:
            return {"error": f"its process has ended ({self._process.returncode})"}
        self._process.stdin.write(f"{json.dumps(rest)}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        found: dict[str, Any] = json.loads(answer) if answer else {"error": "its process has ended"}
        return found

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def _rate(result: dict[str, Any], epoch: int) -> float:
    """MB/s of records."""
    one = result["epochs"][epoch]
    return float(one["bytes"] / one["seconds"] / 1e6)


def _compared(
    found: dict[str, list[dict[str, Any]]],
    again: int,
    peers: Sequence[str],
    speed: float,
    task: dict[str, Any],
    options: argparse.Namespace,
) -> Iterator[tuple[Record, Record]]:
    """Facts and figures of each record: epoch 1 beside the line and the peers, epoch 2 beside the local file."""
    pairs = [("bare", 0, 0), *((peer, 0, 0) for peer in peers)]
    # Each side's second epoch beside ours; the local file's second one is as warm.
    pairs += [("local", 1, 1), *((peer, 1, 1) for peer in peers)]
    for peer, epoch, theirs in pairs:
        errors = [result["error"] for side in ("ours", peer) for result in found[side] if "error" in result]
        figures = (
            failed(errors[0])
            if errors
            else paired(
                [_rate(one, epoch) for one in found["ours"]], [_rate(one, theirs) for one in found[peer]]
            )
        )
        named = {"bare": "line", "local": "local file"}.get(peer, peer)
        facts = {
            "stage": "remote",
            "ours": "ours",
            "peer": named,
            "epoch": epoch + 1,
            "line_mb": speed,
            "line_ms": options.milliseconds,
            # Ours alone crops.
            "resolution": 224,
            "scale": [0.35, 1.0],
            "cache": "empty" if epoch == 0 else "warm",
            "metric": "megabytes_per_second",
            "form": "all records, loaded without a training step",
            "batch": task["batch"],
            "device": "cpu",
            "cores": task["cores"],
            "data": f"{options.data.name if options.data else 'made-up photos'}: {task['images']} records of yuv420, "
            f"{task['records']} bytes",
            "turns": "each round: the line, ours, the local file, then the peers; each in its process with an empty "
            "cache, two epochs",
            "server": "nginx on loopback, behind a proxy of this project",
            "timed_again": again,
        }
        if not errors:
            facts |= {
                "ours_settings": found["ours"][0]["settings"],
                "peer_settings": found[peer][0]["settings"],
            }
        yield facts, figures


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, checked. Raises UserError, one line, for what can't be used."""
    parser = opt.Parser("remote", __doc__)
    add = parser.add_argument
    add("--against", type=opt.list_of(str), default=list(_PEERS), help="litdata, webdataset (default: both)")
    add(
        "--megabytes",
        type=opt.list_of(float),
        default=[50.0, 200.0],
        help="line speeds, MB/s (default: 50,200)",
    )
    add("--milliseconds", type=float, default=20.0, help="there and back (default: 20)")
    add("--size", type=float, default=500.0, help="MB of records (default: 500)")
    add("--window", type=opt.whole(2, 4096), default=64, help="MiB of data.window_mb (default: 64)")
    add(
        "--nginx",
        default=shutil.which("nginx") or "",
        help="the server's program (default: that on the path)",
    )
    add("--python", default=sys.executable, help="an interpreter that has the peers (default: this one)")
    add(
        "--folder",
        type=Path,
        help="folder for the data, twice their size (default: the system's temporary one)",
    )
    parser.add_data()
    parser.add_rounds()
    parser.add_json()
    options = parser.parse_args(argv)
    for peer in options.against:
        if peer not in _PEERS:
            raise UserError(f"--against {peer}: give some of {', '.join(_PEERS)}")
    for program in ("curl", options.nginx or "nginx"):
        if not shutil.which(program):
            raise UserError(f"remote needs {program}: install it (Debian: apt-get install nginx-light curl)")
    if options.rounds < LEAST_ROUNDS:
        raise UserError(f"--rounds {options.rounds}: at least {LEAST_ROUNDS}")
    opt.check_files(options.data, options.json)
    return options
