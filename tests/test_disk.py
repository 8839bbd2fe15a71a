"""Reading within bounds: size, depth and kind of a file are known before its content costs anything."""

import json
import os
from pathlib import Path

import pytest
from helpers.sweeping import create, run

from raynas.disk import parse_json, read_json
from raynas.errors import RaynasError
from raynas.sweep.folder import SweepFolder
from raynas.sweep.packs import damage
from raynas.track.progress import Uploads


def nested(levels: int) -> str:
    return '{"a": [' * (levels // 2) + "]}" * (levels // 2)


def test_json_is_read_up_to_its_depth_and_no_deeper() -> None:
    assert parse_json(nested(64)) == json.loads(nested(64))
    assert parse_json('{"a": "[[[[{{\\"[", "b": [1]}', deepest=2) == {"a": '[[[[{{"[', "b": [1]}
    for text in (nested(66), nested(10**6), "[" * 10**5, "[[[" + nested(10**5)):
        with pytest.raises(ValueError, match="nested deeper than 64 levels"):
            parse_json(text)


def test_a_file_is_read_up_to_its_size_and_no_further(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"\xef\xbb\xbf[1234567]")
    assert read_json(file, most=12) == [1234567]
    with pytest.raises(ValueError, match="larger than 11 bytes"):
        read_json(file, most=11)


def test_what_would_never_end_is_not_opened_for_reading(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="not an ordinary file"):
            read_json(path)


def test_every_record_of_a_sweep_is_read_within_these_bounds(tmp_path: Path) -> None:
    text = nested(10**5)
    folder = create(tmp_path, "name: small\nspace: tiny\n")
    [trial] = folder.trials()
    run(folder, trial.id)
    (folder.path / "track.json").write_text(text)
    assert Uploads(folder, "sqlite:///a.db").trials == {}
    trial.spool.path.write_text(text + "\n")
    assert trial.record().damage
    folder.packs.write_text(text)
    assert "nested deeper" in damage(folder.packs)
    (trial.path / "trial.json").write_text(text)
    assert "nested deeper" in SweepFolder(folder.path).trial(trial.id).known.damage
    (folder.path / "sweep.json").write_text(text)
    with pytest.raises(RaynasError, match="cannot be read") as caught:
        SweepFolder(folder.path).sweep()
    assert "nested deeper" in str(caught.value)
