"""Run a command whose only network is this machine's loopback: ``python .ci/loopback.py COMMAND...``.

Ray listens on every interface, whatever it is told. In a network namespace of its own nothing outside this
machine can reach it. That takes root on Linux; elsewhere the command just runs.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


def isolate() -> bool:
    """Move this process into a network namespace with nothing but loopback; False where that is refused."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    if ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
        return False
    # A new namespace's loopback is down. `struct ifreq`: a 16-byte name, then the flags, 40 bytes in all.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))
    return True


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if not isolate():
        print("no network namespace to be had: running on this machine's network", file=sys.stderr)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - running the given command is what this is for
