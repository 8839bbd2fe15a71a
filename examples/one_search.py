"""One search from Python: an epoch's report at a time."""

from raynas import Search, SearchConfig, genotype_to_text, load_data, load_space, split

config = SearchConfig(
    space="tiny", method="darts", data={"name": "digits", "limit": 320}, epochs=3, batch=32, channels=4
)
search = Search(config, load_space(config.space), split(load_data(config.data), config.data))
for report in search:
    print(f"epoch {report.epoch}: validation loss {report.valid_loss:.3f}, cell {report.genotype.digest()}")
print(genotype_to_text(report.genotype))
