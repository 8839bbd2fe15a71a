"""A method of your own: one of raynas' with other parts, known by its name from then on."""

from raynas import Search, SearchConfig, load_data, load_method, load_space, register_method, split
from raynas.parts.derivations import EveryEdge
from raynas.parts.estimators import SecondOrder
from raynas.parts.relaxations import Softmax
from raynas.parts.schedules import Exponential

cooling = load_method("darts").with_(
    "cooling-darts",
    "a softmax that sharpens, differentiated through one step of the weights; the cell keeps every edge",
    source="this file",
    relaxation=Softmax(temperature=Exponential(start=1.0, factor=0.5)),
    estimator=SecondOrder(),
    derivation=EveryEdge(),
    defaults={"arch_learning_rate": 0.03},
)
register_method(cooling)

config = SearchConfig(space="tiny", method="cooling-darts", data={"name": "digits", "limit": 160}, epochs=2)
search = Search(config, load_space(config.space), split(load_data(config.data), config.data))
for report in search:
    print(f"epoch {report.epoch + 1}: validation loss {report.valid_loss:.3f}, {report.extra}")
