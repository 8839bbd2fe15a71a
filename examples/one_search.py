"""One search from Python: an epoch's report at a time."""

from raynas import Search, SearchConfig, genotype_to_text, load_data, load_space, split

config = SearchConfig(
    space="tiny", method="darts", data={"name": "digits", "limit": 320}, epochs=3, batch=32, channels=4
)
search = Search(config, load_space(config.space), split(load_data(config.data), config.data))
for report in search:
    loss, cell = report.valid_loss, report.genotype.digest()
    print(f"epoch {report.epoch + 1}: validation loss {loss:.3f}, cell {cell}")
print(genotype_to_text(report.genotype))
