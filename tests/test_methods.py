"""Methods in trial files: every form, what is refused and why, defaults, going back to earlier epochs."""

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import pytest
import torch

from raynas.bilevel.records import Curvature
from raynas.bilevel.slots import Relaxation
from raynas.config import SearchConfig
from raynas.errors import RaynasError
from raynas.methods import Method, defaults_of, describe, method_names, reasons, resolve, with_defaults
from raynas.parts.rules import AdamRule, ClipNorm
from raynas.parts.samplers import Gumbel
from raynas.parts.schedules import Linear
from raynas.parts.stages.deepen_widen import Widen
from raynas.parts.stages.perturb_and_project import PerturbAndProject
from raynas.parts.stops import AnyOf, SkipCount
from raynas.search.loop import Pack, Search
from raynas.spaces import skeletons
from raynas.spaces.library import load_space
from raynas.spaces.library import names as library_names

ADA = {
    "base": "r-darts-ada",
    "stop": {
        "use": "eigenvalue-growth",
        "window": 1,
        "delta": 1,
        "after": 0,
        "then": {"use": "regularise", "weight_decay": 10, "times": 2},
    },
}


def test_names_mappings_schedules_lists_and_nulls_are_understood():
    method = resolve({"base": "sdarts-adv", "stages": {"use": "perturb-and-project", "interval": 1}})
    assert method.stages == PerturbAndProject(interval=1)
    temperature = {"use": "linear", "start": 1, "end": 0.1}
    sampler = {"use": "gumbel", "temperature": temperature, "hard": True}
    found = resolve({"base": "vim-nas", "order": "alphas-first", "sampler": sampler, "stop": None})
    assert found.sampler == Gumbel(Linear(1, 0.1), hard=True)
    assert found.stop is None
    assert found.order == "alphas-first"
    rules = {"use": "any-of", "rules": ["rank-stable", {"use": "skip-count", "most": 3}]}
    stop = resolve({"base": "darts", "stop": rules}).stop
    assert isinstance(stop, AnyOf)
    assert stop.rules[1] == SkipCount(3)
    clipped = resolve({"base": "darts", "updater": {"use": "adam", "before": ["clip-norm"]}})
    assert clipped.updater == AdamRule(before=(ClipNorm(),))


def test_add_appends_to_lists():
    method = resolve({"base": "fair-darts", "add": {"penalties": [{"use": "zero-one", "power": 1}]}})
    assert [penalty.power for penalty in method.penalties] == [2, 1]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("drats-plus", "darts-plus"),
        ({"base": "darts", "samplr": "mean"}, "sampler"),
        ({"base": "darts", "sampler": "gumble"}, "gumbel"),
        ({"base": "darts", "sampler": {"use": "gumbel", "temprature": 1}}, "temperature"),
        ({"base": "darts", "sampler": {"use": "gumbel", "temperature": -1}}, "greater than 0"),
        ({"base": "darts", "sampler": {"use": "gumbel", "temperature": {"use": "linaer"}}}, "linear"),
        ({"base": "darts", "sampler": None}, "must be a name or a mapping"),
        ({"base": "darts", "every": 0}, "greater than or equal to 1"),
        ({"base": "darts", "add": {"sampler": "mean"}}, "penalties"),
    ],
)
def test_mistakes_are_told_with_the_nearest(method, words):
    with pytest.raises(RaynasError) as caught:
        resolve(method)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"base": "darts-2nd", "sampler": "gumbel"}, "second order"),
        ({"base": "gdas", "modifiers": ["drop-path"]}, "execute: all"),
        ({"base": "darts-minus", "stages": "perturb-and-project"}, "auxiliary skips"),
        ({"base": "darts", "sampler": "attack"}, "weight_sampler"),
        ({"base": "drnas", "weight_sampler": "uniform-noise"}, "simplex"),
        ({"base": "drnas", "sampler": "mean"}, "go together"),
        ({"base": "sharp-darts", "sampler": "gaussian"}, "max-weight"),
        ({"base": "fair-darts", "sampler": "gumbel"}, "probabilities"),
        ({"base": "darts", "objective": "importance"}, "single architectures"),
        ({"base": "darts", "sampler": "categorical"}, "leaves α to an objective"),
        ({"base": "vim-nas", "estimator": None}, "another order"),
        ({"base": "vim-nas", "updater": {"use": "adam", "after": ["clamp"]}}, "not logits"),
        ({"base": "dsnas", "stages": "perturb-and-project"}, "train all of them"),
        ({"base": "fair-darts", "stages": "drop-weak"}, "probabilities"),
        ({"base": "darts", "derivation": "threshold"}, "above ½"),
        ({"base": "nasp", "derivation": "every-edge"}, "strongest"),
        ({"base": "darts-pt-fixed", "stop": "eigenvalue-growth"}, "α rests"),
        ({"base": "pc-darts", "stages": "widen"}, "leave partial-channels out"),
        ({"base": "darts", "stages": "training-free"}, "estimator: null"),
        ({"base": "bayes-nas", "penalties": []}, "they go together"),
        ({"base": "bayes-nas", "relaxation": "softmax"}, "variances of scales"),
        ({"base": "te-nas", "relaxation": "sigmoid"}, "rows sum to 1"),
        ({"base": "darts", "stages": "drop-zeros"}, "exactly 0"),
    ],
)
def test_combinations_that_make_no_sense_are_refused_with_the_reason(method, words):
    assert any(words in reason for reason in reasons(resolve(method), None, {}))


@dataclass(frozen=True)
class DoubleSoftmax(Relaxation):
    """A relaxation of someone else's: a softmax of twice the logits."""

    shift_free: ClassVar[bool] = True
    sums_to_one: ClassVar[bool] = True

    def __call__(self, logits, mask):
        return (2 * logits).masked_fill(~mask, -float("inf")).softmax(-1)


@pytest.mark.parametrize("name", ["snas", "asap", "gdas", "parsec"])
def test_a_relaxation_from_outside_says_itself_what_it_is(name):
    method = replace(resolve(name), relaxation=DoubleSoftmax())
    assert list(reasons(method, None, {})) == []

    class Weights(DoubleSoftmax):
        sums_to_one = False

    assert any("sum to 1" in reason for reason in reasons(replace(method, relaxation=Weights()), None, {}))


def test_unmeasured_curvature_and_unsuited_spaces_are_refused():
    assert any(
        "hessian.every" in reason for reason in reasons(resolve("r-darts-es"), None, {"hessian.every": 0})
    )


@pytest.mark.parametrize(
    ("method", "every", "least"), [("r-darts-es", 2, 24), ("r-darts-ada", 1, 18), (ADA, 3, 5)]
)
def test_a_stop_rule_that_comes_too_late_to_end_the_search_is_refused(method, every, least):
    def found(epochs):
        values = {"epochs": epochs, "hessian.every": every}
        return [reason for reason in reasons(resolve(method), None, values) if "eigenvalue-growth" in reason]

    assert found(least) == []
    [reason] = found(least - 1)
    assert f"after epoch {least - 1} of {least} or more" in reason
    assert f"epochs: {least - 1}" in reason


def test_a_rate_that_never_leaves_its_warm_up_is_refused():
    method = resolve({"base": "darts", "annealing": {"use": "power-cosine", "warmup": 5}})
    assert any("warm-up" in reason for reason in reasons(method, None, {"epochs": 5}))
    assert not list(reasons(method, None, {"epochs": 6}))
    assert not list(reasons(resolve("sharp-darts"), None, {"epochs": 4}))


def test_a_methods_defaults_stand_below_what_is_given():
    def settled(**values):
        return with_defaults(SearchConfig(space="tiny", **values))

    assert settled(method="drnas").learning_rate == 0.1
    given = settled(method="drnas", learning_rate=0.5, epochs=10)
    assert given.learning_rate == 0.5
    assert given.warmup == 2
    assert with_defaults(given) == given
    assert settled(method="r-darts-es", hessian={"steps": 5}).hessian.every == 2
    assert settled(method="r-darts-es", hessian={"every": 1}).hessian.every == 1
    assert settled(method="drnas", learning_rate=0.025).learning_rate == 0.025
    assert settled() == SearchConfig(space="tiny")
    assert defaults_of("drnas")["warmup"] == 10
    assert defaults_of("darts") == {}


def test_a_method_is_on_a_space_what_its_source_has_there():
    # xiangning-chen/DrNAS at f2caa4d: NAS_BENCH_201 in 201-space/cell_operations.py has `none`, PRIMITIVES in
    # DARTS-space/genotypes.py does not; the numbers are the defaults of the train_search files.
    there = load_space("nas-bench-201")
    assert resolve("drnas", there).without == ()
    assert resolve("drnas", load_space("s4")).without == ("none",)
    assert resolve({"base": "drnas", "without": ["none"]}, there).without == ("none",)
    plain = with_defaults(SearchConfig(space="nas-bench-201", method="drnas"))
    assert (plain.epochs, plain.warmup, plain.arch_learning_rate) == (100, 0, 3e-4)
    assert (plain.learning_rate, plain.learning_rate_min) == (0.025, 0.001)
    staged = with_defaults(SearchConfig(space="nas-bench-201", method="drnas-progressive"))
    assert (staged.epochs, staged.warmup, staged.channels, staged.cells) == (100, 10, 16, 5)
    assert resolve("drnas-progressive", there).stages == Widen((4, 2), (5, 3))
    wide = with_defaults(SearchConfig(space="darts", method="drnas-progressive"))
    assert (wide.epochs, wide.warmup, wide.channels, wide.cells) == (50, 10, 36, 20)
    imagenet = with_defaults(SearchConfig(space="darts-imagenet", method="drnas-progressive"))
    assert (imagenet.batch, imagenet.learning_rate, imagenet.channels, imagenet.cells) == (512, 0.5, 48, 14)
    mine = there.model_copy(update={"name": "mine"})
    assert resolve("drnas", mine) == resolve("drnas", there) == resolve("drnas", there).suited(there)


@pytest.mark.parametrize("name", method_names())
def test_what_a_method_does_elsewhere_is_for_places_that_exist_and_makes_sense_there(name):
    spaces = [load_space(each) for each in library_names("search_spaces")]
    for place, changes in resolve(name).on.items():
        there = [space for space in spaces if place in (space.name, space.skeleton)]
        assert there
        assert changes.keys() - {"defaults"} <= {field.name for field in fields(Method)}
        for space in there:
            values = with_defaults(SearchConfig(space=space.name, method=name)).model_dump()
            # What a space refuses anyhow (P-DARTS' rule of few skips, say) a trial file may replace.
            anyhow = set(reasons(replace(resolve(name), on={}), space, values))
            assert set(reasons(resolve(name), space, values)) <= anyhow
            assert skeletons.of(space).wrong_cells(values["cells"] or space.default_cells) is None


def test_every_method_can_be_described_and_written_again():
    for name in method_names():
        about = describe(name)
        parts = {slot: part for slot, part in about["parts"].items() if slot != "modifiers"}
        assert resolve({"base": "darts", **parts}).sampler == resolve(name).sampler
        assert about["source"]


def test_a_search_in_python_has_its_methods_defaults_and_rejections(make_search_config, build):
    config = make_search_config(method="drnas")
    search = Search(config, *build(config))
    assert (search.pack.config.learning_rate, search.pack.config.batch) == (0.1, config.batch)
    assert next(iter(search)).learning_rate == 0.1
    wrong = make_search_config(method={"base": "darts-2nd", "sampler": "gumbel"})
    with pytest.raises(RaynasError, match="second order needs a sampler without chance"):
        Search(wrong, *build(wrong))


def growing(config, setting):
    """Return a search whose largest eigenvalue doubles in every epoch, so that its stop rule always fires."""
    search = Search(config, *setting)
    pack = search.pack
    pack.measure_curvature = lambda: [Curvature(eig_max=2.0**pack.epoch, eig_min=0, eig_gap=0, trace=0)]
    return search


@pytest.mark.slow
def test_adaptive_regularisation_goes_back_twice_and_then_no_more(make_search_config, build):
    config = make_search_config(method=ADA, epochs=4, hessian={"every": 1})
    search = growing(config, build(config))
    search.advance()
    kept = search.state_dict()
    report = search.advance()
    # Epoch 1 doubled epoch 0: back to the end of epoch 0, with ten times the weight decay.
    assert (report.epoch, report.restart, search.pack.epoch) == (1, 0, 1)
    assert torch.equal(search.pack.problem.alphas[0], kept["policy"]["alphas"])
    assert torch.equal(search.pack.trainer.sgd.velocity[0], kept["sgd"]["velocity"])
    assert float(search.pack.trainer.sgd.weight_decay) == pytest.approx(10 * config.weight_decay)
    middle = search.state_dict()
    rest = list(search)
    assert [(each.epoch, each.restart) for each in rest] == [(1, 1), (1, 2), (2, 2), (3, 2)]
    assert float(search.pack.trainer.sgd.weight_decay) == pytest.approx(100 * config.weight_decay)
    assert rest[-1].ended is None
    again = growing(config, build(config))
    again.load_state_dict(middle)
    assert list(again) == rest


@pytest.mark.slow
def test_no_rule_ends_a_search_after_its_last_epoch(make_search_config, build):
    stop = {key: value for key, value in ADA["stop"].items() if key != "then"}
    method = {"base": "r-darts-es", "stop": {**stop, "after": 1}}
    config = make_search_config(method=method, epochs=4, hessian={"every": 1})
    reports = list(growing(config, build(config)))
    assert (reports[-1].epoch, reports[-1].ended.epoch) == (2, 1)
    last = growing(config, build(config))
    last.pack.measure_curvature = lambda: [Curvature(2.0 ** (last.pack.epoch == 3), 0.0, 0.0, 0.0)]
    reports = list(last)
    assert (reports[-1].epoch, reports[-1].ended) == (3, None)


def test_early_stopping_returns_the_cell_from_before(make_search_config, build):
    stop = {key: value for key, value in ADA["stop"].items() if key != "then"}
    method = {"base": "r-darts-es", "stop": stop}
    config = make_search_config(method=method, epochs=4, hessian={"every": 1})
    reports = list(growing(config, build(config)))
    assert [report.epoch for report in reports] == [0, 1]
    assert reports[-1].ended.epoch == 0


def test_a_search_that_may_go_back_advances_alone(make_search_config, build):
    configs = [make_search_config(method=ADA, epochs=4, hessian={"every": 1}, seed=seed) for seed in (0, 1)]
    with pytest.raises(RaynasError, match="cannot advance in one pack"):
        Pack(configs, *build(configs[0]))
