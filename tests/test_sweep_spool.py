"""The spool and the disk: nothing is lost, torn or doubled, whenever a kill or a full disk strikes."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.odd_files import make_odd

from raynas.disk import write_atomic
from raynas.errors import RaynasError
from raynas.sweep.spool import Spool


def test_events_come_back_in_order_with_their_fields(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "events.jsonl")
    spool.append("start", trial="a", threads=2)
    spool.append("end", status="finished", reason="λ rose\nonce")
    events, offset = spool.events()
    assert [event["kind"] for event in events] == ["start", "end"]
    assert events[0]["threads"] == 2
    assert events[1]["reason"] == "λ rose\nonce"
    assert all(event["v"] == 1 and event["time"] > 1.6e9 for event in events)
    assert offset == spool.path.stat().st_size


def test_a_missing_spool_has_no_events(tmp_path: Path) -> None:
    assert Spool(tmp_path / "events.jsonl").events(7) == ([], 7)


def test_reading_goes_on_from_the_offset(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "events.jsonl")
    spool.append("one")
    _, offset = spool.events()
    assert spool.events(offset) == ([], offset)
    spool.append("two")
    events, end = spool.events(offset)
    assert [event["kind"] for event in events] == ["two"]
    assert end > offset


def test_a_line_torn_at_any_byte_is_left_then_cut_off(tmp_path: Path) -> None:
    whole = Spool(tmp_path / "whole.jsonl")
    whole.append("one", text="ä")
    first = whole.path.stat().st_size
    whole.append("two")
    data = whole.path.read_bytes()
    for cut in range(first, len(data)):
        spool = Spool(tmp_path / f"{cut}.jsonl")
        spool.path.write_bytes(data[:cut])
        events, offset = spool.events()
        assert ([event["kind"] for event in events], offset) == (["one"], first)
        spool.append("three")
        assert [event["kind"] for event in spool.events()[0]] == ["one", "three"]
        assert [event["kind"] for event in spool.events(offset)[0]] == ["three"]


def test_a_torn_first_line_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "events.jsonl")
    spool.path.write_bytes(b"x" * 200_000)
    assert spool.events() == ([], 0)
    spool.append("one")
    assert [event["kind"] for event in spool.events()[0]] == ["one"]


def test_the_last_newline_is_found_across_blocks(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "events.jsonl")
    spool.append("long", text="y" * 150_000)
    with spool.path.open("ab") as file:
        file.write(b"z" * 100_000)
    spool.append("short")
    assert [event["kind"] for event in spool.events()[0]] == ["long", "short"]


def test_a_kill_keeps_what_was_appended(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from raynas.sweep.spool import Spool\n"
        "spool = Spool(pathlib.Path(sys.argv[1]))\n"
        "spool.append('one')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "events.jsonl"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert [event["kind"] for event in Spool(path).events()[0]] == ["one"]


@pytest.mark.parametrize(
    "line", [b"not json\n", b"[1]\n", b'{"kind":"x"}\n', b'{"v":1,"kind":3}\n', b"\x00\n"]
)
def test_a_damaged_line_is_told_and_hides_no_other(tmp_path: Path, line: bytes) -> None:
    spool = Spool(tmp_path / "events.jsonl")
    spool.append("one")
    with spool.path.open("ab") as file:
        file.write(line)
    spool.append("two")
    events, offset = spool.events()
    assert [event["kind"] for event in events] == ["one", "damage", "two"]
    assert "events.jsonl at byte" in events[1]["why"]
    assert not events[1]["foreign"]
    assert offset == spool.path.stat().st_size


def test_a_later_format_is_told_apart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "events.jsonl")
    spool.path.write_text(json.dumps({"v": 2, "kind": "start"}) + "\n")
    [event] = spool.events()[0]
    assert event["foreign"]
    assert "another version" in event["why"]


def test_a_text_that_only_python_can_read_is_an_event(tmp_path: Path) -> None:
    """As in the name of a file whose bytes are no UTF-8."""
    spool = Spool(tmp_path / "events.jsonl")
    spool.append("end", reason=os.fsdecode(b"\xff"), loss=float("inf"))
    [event] = spool.events()[0]
    assert (event["reason"], event["loss"]) == (os.fsdecode(b"\xff"), float("inf"))


@pytest.mark.parametrize("kind", ["link", "loose link", "folder", "pipe"])
def test_what_is_no_file_of_ours_is_neither_read_nor_written(tmp_path: Path, kind: str) -> None:
    spool, target = Spool(tmp_path / "events.jsonl"), tmp_path / "target"
    target.write_bytes(b'{"v":1,"kind":"one"}\n')
    make_odd(spool.path, kind, target)
    [event] = spool.events()[0]
    assert event["kind"] == "damage"
    with pytest.raises(RaynasError, match="cannot write"):
        spool.append("two")
    assert target.read_bytes() == b'{"v":1,"kind":"one"}\n'


def test_a_full_disk_adds_nothing_and_a_later_append_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "events.jsonl")
    spool.append("one")
    before = spool.path.read_bytes()
    write = os.write
    calls = []

    def half_then_full(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half_then_full)
        with pytest.raises(RaynasError, match="disk full"):
            spool.append("two")
    assert len(calls) == 2
    assert spool.path.read_bytes() == before
    spool.append("three")
    assert [event["kind"] for event in spool.events()[0]] == ["one", "three"]


def test_a_write_in_pieces_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    spool = Spool(tmp_path / "events.jsonl")
    spool.append("one", text="abc" * 20)
    assert [event["text"] for event in spool.events()[0]] == ["abc" * 20]


def test_atomic_writing_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "disk full"),
        (errno.EDQUOT, "disk full"),
        (errno.EROFS, "permission"),
        (errno.EIO, "cannot"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, what: str, call: str
) -> None:
    path = tmp_path / "sweep.json"
    write_atomic(path, b"old")

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(RaynasError, match=what) as caught:
            write_atomic(path, b"new")
    assert caught.value.got == path
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB; only root may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    spool = Spool(small_disk / "events.jsonl")
    write_atomic(small_disk / "sweep.json", b"old")
    with pytest.raises(RaynasError, match="disk full"):  # noqa: PT012 - which append fills it is not known
        for number in range(100):
            spool.append("epoch", number=number, text="x" * 3000)
    numbers = [event["number"] for event in spool.events()[0]]
    assert 5 < len(numbers) < 30
    assert numbers == list(range(len(numbers)))
    with pytest.raises(RaynasError, match="disk full"):
        write_atomic(small_disk / "sweep.json", b"y" * 40_000)
    assert (small_disk / "sweep.json").read_bytes() == b"old"
    assert sorted(path.name for path in small_disk.iterdir()) == ["events.jsonl", "sweep.json"]
