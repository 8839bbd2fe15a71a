"""Stop a search and go on from its checkpoint, to the same bits."""

from pathlib import Path
from tempfile import TemporaryDirectory

from raynas import Search, SearchConfig, load_data, load_space, split
from raynas.search import checkpoint

config = SearchConfig(space="tiny", data={"name": "digits", "limit": 80}, epochs=2, batch=32, channels=4)
space, splits = load_space(config.space), split(load_data(config.data), config.data)

whole = list(Search(config, space, splits))

first = Search(config, space, splits)
begun = [next(iter(first))]
with TemporaryDirectory() as folder:
    file = Path(folder) / "checkpoint.pt"
    file.write_bytes(checkpoint.dump(first.state_dict()))
    second = Search(config, space, splits)  # as after a crash, in another process
    second.load_state_dict(checkpoint.load(file))

resumed = [*begun, *second]
print("the same, to the last bit:", resumed == whole)
