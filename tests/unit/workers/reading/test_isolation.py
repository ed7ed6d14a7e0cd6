from __future__ import annotations

import socket
import subprocess
import sys

import pytest

PROGRAM = """
import socket, sys
from workers.reading.isolation import leave_network
left = leave_network()
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
    print(left, "connected")
except OSError:
    print(left, "refused")
"""


def test_who_leaves_the_network_reaches_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        told = subprocess.run(
            [sys.executable, "-c", PROGRAM, port], check=True, capture_output=True, text=True
        ).stdout.split()
    if told[0] == "False":
        pytest.skip("this system lets nobody leave the network")
    assert told == ["True", "refused"]
