"""raynas: many differentiable architecture searches in parallel, one YAML in, one report out.

The names below are all that a first search from Python needs; `examples/` shows each at work::

    from raynas import Search, SearchConfig, load_data, load_space, split

    config = SearchConfig(space="tiny", method="darts", data={"name": "digits"}, epochs=3)
    search = Search(config, load_space(config.space), split(load_data(config.data), config.data))
    for report in search:
        print(report.epoch, report.valid_loss, report.genotype)

A name is imported when it is first asked for, so that `import raynas` costs nothing. None is called like a
module of the package (`raynas.search`): what that means would depend on what was imported before.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raynas.config import SearchConfig
    from raynas.data.load import load_data
    from raynas.data.split import split
    from raynas.errors import RaynasError
    from raynas.methods import Method, method_names, register_method
    from raynas.methods import resolve as load_method
    from raynas.report.results import Results
    from raynas.report.results import load_results as load
    from raynas.search.loop import Pack, Search
    from raynas.spaces.genotype import Genotype
    from raynas.spaces.library import load_space
    from raynas.spaces.operations import register_operation
    from raynas.spaces.reading import genotype_from_text, genotype_to_text, load_genotype
    from raynas.spaces.skeletons import same_network
    from raynas.spaces.space import Space

__version__ = "0.2.0.dev0"

__all__ = [
    "Genotype",
    "Method",
    "Pack",
    "RaynasError",
    "Results",
    "Search",
    "SearchConfig",
    "Space",
    "genotype_from_text",
    "genotype_to_text",
    "load",
    "load_data",
    "load_genotype",
    "load_method",
    "load_space",
    "method_names",
    "register_method",
    "register_operation",
    "same_network",
    "split",
]

_HOMES = {
    "Genotype": "raynas.spaces.genotype:Genotype",
    "Method": "raynas.methods:Method",
    "Pack": "raynas.search.loop:Pack",
    "RaynasError": "raynas.errors:RaynasError",
    "Results": "raynas.report.results:Results",
    "Search": "raynas.search.loop:Search",
    "SearchConfig": "raynas.config:SearchConfig",
    "Space": "raynas.spaces.space:Space",
    "genotype_from_text": "raynas.spaces.reading:genotype_from_text",
    "genotype_to_text": "raynas.spaces.reading:genotype_to_text",
    "load": "raynas.report.results:load_results",
    "load_data": "raynas.data.load:load_data",
    "load_genotype": "raynas.spaces.reading:load_genotype",
    "load_method": "raynas.methods:resolve",
    "load_space": "raynas.spaces.library:load_space",
    "method_names": "raynas.methods:method_names",
    "register_method": "raynas.methods:register_method",
    "register_operation": "raynas.spaces.operations:register_operation",
    "same_network": "raynas.spaces.skeletons:same_network",
    "split": "raynas.data.split:split",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, inside = _HOMES[name].partition(":")
    globals()[name] = found = getattr(import_module(module), inside)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
