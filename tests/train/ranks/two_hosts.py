"""Two hosts as network namespaces with a network between them."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

MAIN = "10.73.0.1"
"""Address of the first one."""
NETWORK = {"GLOO_SOCKET_IFNAME": "eth0", "TP_SOCKET_IFNAME": "eth0"}
"""What a process needs in its environment there: the machine's own name is of another network."""


@pytest.fixture
def hosts() -> Iterator[list[list[str]]]:
    """The prefixes that run a command on each of them."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root, and the command ip")
    names = [f"engine-{os.getpid()}-{number}" for number in (1, 2)]
    commands = [f"ip netns add {name}" for name in names]
    commands += [f"ip link add {names[0][-9:]}a netns {names[0]} type veth peer name eth0 netns {names[1]}"]
    commands += [f"ip -n {names[0]} link set {names[0][-9:]}a name eth0"]
    for number, name in enumerate(names, start=1):
        commands += [f"ip -n {name} addr add 10.73.0.{number}/24 dev eth0"]
        commands += [f"ip -n {name} link set {device} up" for device in ("lo", "eth0")]
    try:
        for line in commands:
            done = subprocess.run(line.split(), capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no network namespaces here: {done.stderr.strip()}")
        yield [["ip", "netns", "exec", name] for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
