"""Several searches that advance together: a pack, here of three seeds."""

from statistics import fmean

from raynas import Pack, RaynasError, SearchConfig, load_data, load_space, split

configs = [
    SearchConfig(space="tiny", seed=seed, data={"name": "digits", "limit": 160}, epochs=2, batch=32)
    for seed in range(3)
]
data = configs[0].data
pack = Pack(configs, load_space("tiny"), split(load_data(data), data))
for outcomes in pack:  # of every epoch a report from each search, or its `Diverged`
    reports = [each for each in outcomes if not isinstance(each, RaynasError)]
    losses = [report.valid_loss for report in reports if report.valid_loss is not None]
    print(f"mean validation loss {fmean(losses):.3f}")
    print("cells", *(report.genotype.digest() for report in reports))
