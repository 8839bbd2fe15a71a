"""A search space of your own: a YAML file, named by its path wherever a space's name may be given."""

from pathlib import Path

from raynas import Search, SearchConfig, genotype_to_text, load_data, load_space, split

file = Path(__file__).with_name("own_space.yaml")
space = load_space(str(file))
for cell in space.cells:
    print(f"{cell.kind}: {len(cell.edges)} edges, each {' or '.join(cell.edges[0].ops)}")

config = SearchConfig(space=str(file), data={"name": "digits", "limit": 160}, epochs=1, batch=32)
for report in Search(config, space, split(load_data(config.data), config.data)):
    print(genotype_to_text(report.genotype))
