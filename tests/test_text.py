"""Texts: reading, vocabulary, streams of segments, and what is told of files that cannot be used."""

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from raynas.config import DataConfig
from raynas.data.catalogue import AS_THEY_ARE, check_data
from raynas.data.corpus import Corpus
from raynas.data.feeds import Feeds, content_of
from raynas.data.load import load_data
from raynas.data.split import split
from raynas.data.text import END, UNKNOWN, python_docs, tokenise, vocabulary
from raynas.data.text_feed import TextFeed
from raynas.errors import FileProblems, RaynasError
from raynas.launch.driver import data_key

SONG = "Row, row, row your boat -- gently down the stream.\nLife is but a dream!\n" * 40


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.txt"
    path.write_text(SONG, encoding="utf-8")
    return path


@pytest.fixture
def treebank(tmp_path):
    lines = {
        "train": " the cat sat on the <unk> \n a dog sat on N cats \n" * 20,
        "valid": " the dog sat on a mat \n" * 5,
        "test": " the cat ran \n",
    }
    for part, text in lines.items():
        (tmp_path / f"ptb.{part}.txt").write_text(text)
    return tmp_path


def text(path, **more):
    return DataConfig(name="text", path=str(path), **more)


def test_words_are_lower_case_and_signs_stand_alone():
    assert tokenise('He said: "Don\'t ..." -- f(x_1)\n====') == [
        "he", "said", ":", '"', "don", "'", "t", "...", '"', "--", "f", "(", "x_1", ")", "====",
    ]  # fmt: skip


def test_a_vocabulary_is_by_frequency_and_ends_where_words_are_rare():
    words = ["b", "a", "c", "a", "b", "d", "d", "e", "<unk>", "<unk>"]
    assert vocabulary(words, 10, 1) == (UNKNOWN, "b", "a", "d", "c", "e")
    assert vocabulary(words, 10, 2) == (UNKNOWN, "b", "a", "d")
    assert vocabulary(words, 1, 2) == (UNKNOWN, "b")


def test_a_text_is_cut_once_and_its_words_are_those_of_the_first_part(song):
    song.write_text(SONG + "never seen before " * 10, encoding="utf-8")
    corpus = load_data(text(song, valid=0.25))
    words = tokenise(song.read_text(encoding="utf-8"))
    assert len(corpus.tokens) == len(words)
    assert corpus.train == len(words) - round(len(words) * 0.25)
    assert set(corpus.words) == {UNKNOWN, *words[: corpus.train]}
    back = [corpus.words[token] for token in corpus.tokens]
    assert back == [word if word in corpus.words else UNKNOWN for word in words]
    assert "never" not in corpus.words
    splits = split(corpus, text(song, valid=0.25))
    np.testing.assert_array_equal(np.concatenate([splits.train, splits.valid]), np.arange(len(words)))
    assert splits.record() == {
        "name": corpus.name,
        "classes": corpus.classes,
        "hash": corpus.fingerprint(),
        "split_seed": 0,
        "train": corpus.train,
        "valid": len(words) - corpus.train,
    }


def test_settings_change_the_fingerprint_only_where_they_change_the_content(song):
    plain = load_data(text(song)).fingerprint()
    assert load_data(text(song, words=5000, bptt=3)).fingerprint() == plain
    assert load_data(text(song, words=3)).fingerprint() != plain
    assert load_data(text(song, min_count=10**6)).words == (UNKNOWN,)
    assert data_key(text(song)) == data_key(text(song, bptt=3))
    assert data_key(text(song)) != data_key(text(song, valid=0.3))


def test_a_limit_is_so_many_tokens_from_the_beginning(song):
    corpus = load_data(text(song, limit=100))
    assert [corpus.words[token] for token in corpus.tokens[:50]] == [
        word if word in corpus.words else UNKNOWN for word in tokenise(SONG)[:50]
    ]
    assert (len(corpus.tokens), corpus.train) == (100, 50)
    with pytest.raises(RaynasError, match="is larger than text"):
        load_data(text(song, limit=10**6))


def test_the_treebank_brings_its_own_parts_and_ends_its_lines(treebank):
    corpus = load_data(DataConfig(name="ptb", path=str(treebank), min_count=1))
    first = [corpus.words[token] for token in corpus.tokens[:14]]
    assert first == f"the cat sat on the {UNKNOWN} {END} a dog sat on N cats {END}".split()
    assert corpus.train == 20 * 14
    valid = [corpus.words[token] for token in corpus.tokens[corpus.train :][:7]]
    assert valid == f"the dog sat on a {UNKNOWN} {END}".split()
    assert [corpus.words[token] for token in corpus.test] == f"the cat {UNKNOWN} {END}".split()
    limited = load_data(DataConfig(name="ptb", path=str(treebank), limit=21))
    assert (limited.train, len(limited.tokens)) == (21, 42)


def test_pythons_documentation_is_a_text():
    corpus = load_data(DataConfig(name="python-docs", limit=20_000))
    assert isinstance(corpus, Corpus)
    assert corpus.classes > 500
    assert {"statement", "if", "the"} <= set(corpus.words)


def test_documentation_is_read_topic_by_topic(monkeypatch):
    module = types.ModuleType("some_topics")
    module.topics = {
        "b": "two\n",
        "a": r"""one
""",
    }  # single lines until Python 3.13, one long text since
    monkeypatch.setitem(sys.modules, "some_topics", module)
    assert tokenise(python_docs("some_topics")) == ["one", "two"]


@pytest.mark.parametrize("topics", [None, ["text"], {"a": 1}])
def test_documentation_in_another_form_is_told(monkeypatch, topics):
    module = types.ModuleType("some_topics")
    if topics is not None:
        module.topics = topics
    monkeypatch.setitem(sys.modules, "some_topics", module)
    with pytest.raises(RaynasError) as error:
        python_docs("some_topics")
    assert "data.name=text" in error.value.next_step
    with pytest.raises(RaynasError, match="no documentation"):
        python_docs("no_such_module_of_topics")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the text is empty"),
        (b"   \n\t ", "holds no words"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8 text"),
        (b"\xff\xfeh\x00i\x00", "not UTF-8 text"),
        (b"abc\0def", "zero bytes"),
        (b"word", "leaves one part empty"),
    ],
)
def test_a_file_that_is_no_text_is_told_with_a_next_step(tmp_path, content, what):
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    with pytest.raises(RaynasError, match=what):
        load_data(text(path))


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"path": "missing/song.txt"}, "data.path", "missing does not exist"),
        ({"path": "sing.txt"}, "data.path", "nearest: song.txt"),
        ({"path": "."}, "data.path", "is a folder; a text is one file"),
        ({"path": None}, "data.path", "needs `path`, the file"),
        ({"name": "ptb", "path": None}, "data.path", "holds ptb.train.txt"),
        ({"name": "ptb", "path": "."}, "data.path", "ptb.train.txt does not exist"),
        ({"name": "python-docs"}, "data.path", "it has no path"),
        ({"cutout": 4}, "data.cutout", "is a text"),
        ({"size": 32}, "data.size", "is a text"),
        ({"storage": "stream"}, "data.storage", "is a text"),
        ({"options": {"a": 1}}, "data.options", "is a text"),
        ({"name": "digits", "path": None, "bptt": 7}, "data.bptt", "only a text has bptt"),
        ({"name": "digits", "path": None, "words": 7}, "data.words", "only a text has words"),
    ],
)
def test_wrong_settings_are_found_before_anything_is_read(song, monkeypatch, changes, path, words):
    monkeypatch.chdir(song.parent)
    config = DataConfig(**{"name": "text", "path": "song.txt", **changes})
    problems = {problem.path: problem.message for problem in check_data(config)}
    assert words in problems[path]
    with pytest.raises(FileProblems):
        load_data(config)


def test_streams_cover_every_token_once_in_order_and_labels_are_the_next():
    tokens = torch.arange(100, 100 + 4 * 23 + 3)
    feed = TextFeed(tokens, batch=4, bptt=5)
    segments = list(feed.plain())
    assert [inputs.shape for inputs, _ in segments] == [(4, 5)] * 4 + [(4, 3)]
    inputs, labels = (torch.cat(parts, 1) for parts in zip(*segments, strict=True))
    assert torch.equal(inputs.flatten(), tokens[: 4 * 23])
    assert torch.equal(labels, inputs + 1)
    assert feed.steps_per_epoch == 4
    for one, other in zip(feed.epoch(), segments[:4], strict=True):
        assert all(map(torch.equal, one, other))


def test_an_epoch_longer_than_the_text_begins_again():
    feed = TextFeed(torch.arange(41), batch=2, bptt=5)
    starts = [int(inputs[0, 0]) for inputs, _ in feed.epoch(6)]
    assert starts == [0, 5, 10, 15, 0, 5]


def test_a_probe_depends_on_its_generator_alone():
    feed = TextFeed(torch.arange(1000), batch=4, bptt=5)
    one, two = (feed.probe(3, 7, torch.Generator().manual_seed(1)) for _ in range(2))
    assert [inputs.shape for inputs, _ in one] == [(7, 5)] * 3
    for (inputs, labels), (again, _) in zip(one, two, strict=True):
        assert torch.equal(inputs, again)
        assert torch.equal(labels, inputs + 1)


def test_a_text_too_short_for_one_batch_says_what_would_do(make_search_config):
    assert TextFeed(torch.arange(21), 4, 5).steps_per_epoch == 1
    with pytest.raises(RaynasError, match="too short") as error:
        TextFeed(torch.arange(20), 4, 5)
    assert error.value.next_step
    alone = make_search_config(batch=1, data={"name": "python-docs", "bptt": 5})
    with pytest.raises(RaynasError, match="several streams"):
        Feeds(torch.arange(21), AS_THEY_ARE, np.arange(21), alone, [torch.Generator()], torch.float32)


def test_a_hidden_state_is_carried_through_a_pass_and_starts_anew_with_the_text(make_search_config, song):
    config = make_search_config(batch=4, data={"name": "text", "path": str(song), "limit": 200, "bptt": 8})
    splits = split(load_data(config.data), config.data)
    content = content_of(splits.dataset, torch.device("cpu"))
    generators = [torch.Generator(), torch.Generator()]
    feeds = Feeds(content, splits.dataset.recipe, splits.valid, config, generators, torch.float32)
    steps = feeds.steps_per_epoch
    seen = []
    for number, batch in enumerate(feeds.epoch(2 * steps + 1)):
        assert batch.images.shape == batch.labels.shape == (2, 4, 8)
        seen.append(None if batch.carried.now is None else int(batch.carried.now))
        batch.carried.ahead = torch.tensor(number)
    inside = [None, *range(steps - 1)]
    assert seen == [*inside, None, *range(steps, 2 * steps - 1), None]
    last = None
    for number, batch in enumerate(feeds.plain(4)):
        assert batch.carried.now is last
        last = batch.carried.ahead = torch.tensor(number)
    assert feeds.probe(1, 3, torch.Generator()).carried is None


def test_a_segment_that_no_pass_reads_leaves_the_hidden_state(make_search_config, song):
    config = make_search_config(batch=4, data={"name": "text", "path": str(song), "limit": 400, "bptt": 8})
    splits = split(load_data(config.data), config.data)
    content = content_of(splits.dataset, torch.device("cpu"))
    feeds = Feeds(content, splits.dataset.recipe, splits.train, config, [torch.Generator()], torch.float32)
    assert feeds.steps_per_epoch > 3
    first, second, third = (batch for batch, _ in zip(_marking(feeds), range(3), strict=False))
    assert [first, second, third] == [None, 0, 0]


def _marking(feeds):
    """Yield the hidden state that each segment starts from; only the first leaves one."""
    for number, batch in enumerate(feeds.epoch(4)):
        yield None if batch.carried.now is None else int(batch.carried.now)
        if number == 0:
            batch.carried.ahead = torch.tensor(number)


def test_the_real_treebank_has_its_published_size():
    folder = os.environ.get("RAYNAS_PTB")
    if not folder or not (Path(folder) / "ptb.train.txt").is_file():
        pytest.skip("RAYNAS_PTB names no folder with the Penn Treebank")
    corpus = load_data(DataConfig(name="ptb", path=folder, min_count=1))
    assert (corpus.classes, corpus.train) == (10_000, 929_589)
