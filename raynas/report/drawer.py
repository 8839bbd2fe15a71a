"""Pictures of cells drawn by another process: matplotlib takes some 70 ms of a core for one.

So neither a driver's threads wait for it nor does the end of the interpreter meet a thread inside it.
"""

import json
import os
import struct
import subprocess
import sys
from collections import OrderedDict
from contextlib import suppress
from typing import IO

from raynas.report.draw import draw_png
from raynas.spaces.genotype import Genotype
from raynas.spaces.reading import genotype_from_json

KEPT = 64
"""Pictures that are kept: a cell mostly stays for some epochs, and its last is drawn for the summary too."""

_LENGTH = struct.Struct("<I")


class Drawer:
    """Draws cells as PNG, each once as long as it is kept; the process starts with the first.

    One thread at a time may draw; `close` may be called by any, and makes a drawing that goes on fail with
    `EOFError`.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def draw(self, genotype: Genotype, kind: str) -> bytes:
        """Return one kind of cell as PNG; raises `EOFError` when the process ends or cannot be started."""
        key = json.dumps({"kind": kind, "genotype": genotype.to_json()})
        if key not in self._kept:
            self._kept[key] = self._ask(key)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def close(self) -> None:
        """End the process."""
        self._closed = True
        if (process := self._process) is not None:
            with suppress(OSError):
                process.kill()
            process.wait()

    def _ask(self, request: str) -> bytes:
        if self._closed:
            raise EOFError("nothing is drawn any more")
        if self._process is None or self._process.poll() is not None:
            # -P: the folder it is started in may hold anything under the name of ours or of a library.
            command = [sys.executable, "-P", "-m", "raynas.report.drawer"]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise EOFError("the process has no pipes")
        try:
            process.stdin.write(request.encode() + b"\n")
            process.stdin.flush()
            return _read(process.stdout, *_LENGTH.unpack(_read(process.stdout, _LENGTH.size)))
        except OSError as error:
            raise EOFError(f"{error}") from error


def _read(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError("the process that draws has ended")
    return data


def answer() -> None:
    """Draw what is asked for, a JSON line each, until nobody asks any more; at the lowest priority."""
    os.nice(19)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        picture = draw_png(genotype_from_json(asked["genotype"]), asked["kind"])
        sys.stdout.buffer.write(_LENGTH.pack(len(picture)) + picture)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    answer()
