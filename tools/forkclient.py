"""The other end of ``tools.forkserver``: what a shell starts in place of ``icis`` or ``python``.

Run as ``python -IS forkclient.py SOCKET icis|python ARGUMENT...``. It hands its arguments, folder,
environment and streams to the server, waits, and ends with the exit code of the command. Only the
standard library, and little of it: this starts in 20 ms.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def send_request(
    connection: socket.socket,
    program: str,
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
    streams: tuple[int, int, int],
) -> None:
    """Ask for a run; ``streams`` are the descriptors of its stdin, stdout and stderr."""
    request = json.dumps([program, arguments, folder, environment]).encode()
    socket.send_fds(connection, [len(request).to_bytes(8, "big")], streams)
    connection.sendall(request)


def receive_answer(connection: socket.socket) -> tuple[int, int]:
    """Wait for the end of the run: its exit code (a signal is negative) and peak memory in KiB."""
    with connection.makefile("rb") as answer:
        code, peak = json.loads(answer.readline())
    return code, peak


def main() -> None:
    """Run what the command line says in a child of the server."""
    address, program, *arguments = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        environment = dict(os.environ)
        folder = os.getcwd()  # noqa: PTH109 - to import pathlib takes half as long as all else
        send_request(connection, program, arguments, folder, environment, (0, 1, 2))
        code, _ = receive_answer(connection)
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
