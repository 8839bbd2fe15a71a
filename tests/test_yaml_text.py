"""YAML as people write it: what a person means, or a refusal that says how to write it; within bounds."""

import time
from pathlib import Path

import pytest
from helpers.sweeping import sweep_of

from raynas.errors import FileProblems, RaynasError
from raynas.spaces.library import load_space
from raynas.yaml_text import NotYaml, parse_value, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("3e5", 300000.0),
        ("1_000", 1000),
        ("0x10", 16),
        ("0o17", 15),
        ("0", 0),
        ("-.5", -0.5),
        ("2026-11-28", "2026-11-28"),
        ("2026-13-45", "2026-13-45"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("=", "="),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("'010'", "010"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_values_are_what_they_look_like(text, value):
    found = parse_yaml(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_merge_keys_stand_below_what_is_written_out():
    text = "d: &d {a: 1, b: 2}\ne: &e {b: 5, c: 6}\nf: {<<: *d, b: 3}\ng: {b: 4, <<: [*d, *e]}"
    found = parse_yaml(text)
    assert found["f"] == {"a": 1, "b": 3}
    assert found["g"] == {"a": 1, "b": 4, "c": 6}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 010", "write 10, or '010' for a text"),
        ("a: -007", "write -7"),
        ("{a: 1, a: 2}", "given twice"),
        ("{a: 1, <<: {b: 1}, <<: {b: 2}}", "given twice"),
        ("? {a: 1}\n: 2", "cannot be a key"),
        ("a: &a [*a]", "contains it"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: !!timestamp x", "tag"),
        ("a: !!map [1]", "tag"),
        ("a: !!int x", "invalid literal"),
        ('a: "\\e[31m"', "U+001B"),
        ('a: "\\0"', "U+0000"),
        ('a: "\\ud800"', "U+D800"),
        ("a: \x00", "unacceptable character"),
        ("a: 1" + "0" * 5000, "limit"),
        ("a: -0_0" + "9" * 5000, "octal"),
        ("- a\n--- b", "expected a single document in the stream, but found another document"),
        ("[" * 33 + "]" * 33, "deeper than 32 levels"),
        ("[" * 100_000, "deeper than 32 levels"),
        ("a: " + "x" * 300_000, "more than 262,144"),
        ("a: [" + "1, " * 20_000 + "]", "more than 20,000 values"),
    ],
)
def test_what_is_refused_says_why(text, message):
    with pytest.raises(NotYaml, match=message.replace("+", r"\+")):
        parse_yaml(text)


def test_aliases_count_as_what_they_stand_for():
    laughs = "a0: &a0 [x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)
    )
    chain = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2000))
    long = f"a: &a {'x' * 10_000}\nb: [{', '.join(['*a'] * 1000)}]"
    started = time.process_time()
    for text, message in ((laughs, "20,000 values"), (chain, "32 levels"), (long, "20,000 values")):
        with pytest.raises(NotYaml, match=message):
            parse_yaml(text)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("set #2", "set #2"),
        ("#2", "#2"),
        ("", None),
        ("5 # five", "5 # five"),
        ("'a #b'", "a #b"),
        ("[0, 1]", [0, 1]),
        ("mine:load", "mine:load"),
    ],
)
def test_an_override_has_no_comments(text, value):
    assert parse_value(text) == value


def problems(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(FileProblems) as caught:
        sweep_of(tmp_path, text, *overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: 2026\nspace: tiny", "in quotes: '2026'"),
        ("name: no\nspace: tiny", "in quotes: 'false'"),
        ("name: 1e5\nspace: tiny", "written in quotes"),
        (f"name: {'a' * 81}\nspace: tiny", "at most 80 letters; got 81"),
        ("name: nul\nspace: tiny", "Windows"),
        ("name: com1.x\nspace: tiny", "Windows"),
        ("name: a.\nspace: tiny", "Windows"),
        ("threads: 9999\nspace: tiny", "less than or equal to 256; got 9999"),
        ("epochs: 1000000000\nspace: tiny", "less than or equal to 100000"),
        ("resources: {pack: 99999}\nspace: tiny", "less than or equal to 10000"),
        ("samples: 1000000000\nspace: tiny", "less than or equal to 10000"),
        ("batch: yes\nspace: tiny", "got True, as YAML reads yes"),
    ],
)
def test_a_count_and_a_name_have_bounds_that_check_says(tmp_path, text, message):
    assert message in problems(tmp_path, text)


@pytest.mark.parametrize("blocks", ["[100000, 1]", "[1, 100000]"])
def test_a_space_has_bounds_too(tmp_path, blocks):
    stages, each = (int(number) for number in blocks.strip("[]").split(","))
    text = "name: x\ntitle: x\nskeleton: chain\nnodes: 2\ncells: {normal: {ops: [mbconv3_3x3]}}\n"
    stage = f"{{width: 8, blocks: {each}}}"
    repeated = ", ".join([stage] * min(stages, 200))
    (tmp_path / "x.yaml").write_text(f"{text}trunk: {{stem: [8, 8], last: 8, stages: [{repeated}]}}\n")
    with pytest.raises(RaynasError, match="problem") as caught:
        load_space(str(tmp_path / "x.yaml"))
    assert "at most 64" in str(caught.value) or "less than or equal to 64" in str(caught.value)


def test_a_date_is_a_name(tmp_path):
    assert sweep_of(tmp_path, "name: 2026-11-28\nspace: tiny").name == "2026-11-28"


def test_what_is_large_and_wrong_is_told_soon_and_in_few_words(tmp_path):
    started = time.process_time()
    keys = problems(tmp_path, "space: tiny\n" + "".join(f"k{i}: 1\n" for i in range(3000)))
    assert "and 2950 more unknown keys" in keys
    many = problems(tmp_path, f"space: tiny\ngrid: {{method: [{', '.join(f'm{i}' for i in range(2000))}]}}")
    assert many.count("unknown method") <= 51
    seeds = problems(tmp_path, f"space: tiny\ngrid: {{seed: [{', '.join(map(str, range(10_001)))}]}}")
    assert "10001 trials are more than 10000" in seeds
    few = "strategy: random-paired\nsamples: 9000\nsample: {clip: {choice: [1, 2]}}"
    assert "only 2 different points" in problems(tmp_path, f"space: tiny\n{few}")
    assert time.process_time() - started < 10
