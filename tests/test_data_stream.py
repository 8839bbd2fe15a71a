"""The batches of a search: augmentation against plain code, exact repetition, resident against streamed."""

import contextlib
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional

from raynas.config import DataConfig
from raynas.data.augment import Augment, crop, cutout, normalise_pixels
from raynas.data.catalogue import ImageRecipe
from raynas.data.dataset import Dataset, from_arrays
from raynas.data.feed import ImageBatch, ImageFeed, Images
from raynas.data.load import load_data
from raynas.errors import RaynasError

ALL = Augment(pad=2, flip=True, cutout=4)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 7, 6, 3), dtype=np.uint8)
    return from_arrays("random", images, np.arange(50) % 5, test=(images[:5], np.arange(5)))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_feed(
    dataset: Dataset, generator: torch.Generator | None = None, batch: int = 8, **options
) -> ImageFeed:
    return ImageFeed(Images(dataset), np.arange(10, 45), batch, generator or seeded(), **options)


def same(first: list[ImageBatch], second: list[ImageBatch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(x, other_x) and torch.equal(y, other_y)
        for (x, y), (other_x, other_y) in zip(first, second, strict=True)
    )


def pixels(count: int = 9, height: int = 8, width: int = 8) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), generator=seeded(), dtype=torch.uint8)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 7)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_crop_and_mirror_equal_torchvision_one_by_one(height, width, layout):
    images = pixels(100, height, width).contiguous(memory_format=layout)
    top, left, mirrored = (torch.randint(limit, (100,), generator=seeded(limit)) for limit in (5, 5, 2))
    ours = crop(images, 2, top, left, mirrored)
    unmirrored = crop(images, 2, top, left)
    for index, image in enumerate(images):
        padded = functional.pad(image, [2, 2, 2, 2])
        plain = functional.crop(padded, int(top[index]), int(left[index]), height, width)
        assert torch.equal(unmirrored[index], plain)
        assert torch.equal(ours[index], functional.hflip(plain) if mirrored[index] else plain)


@pytest.mark.parametrize("side", [1, 4, 5, 16])
def test_cutout_equals_the_plain_loop(side):
    images = torch.rand(64, 2, 6, 8, generator=seeded()) + 1
    row, column = (torch.randint(limit, (64,), generator=seeded(limit)) for limit in (6, 8))
    ours = cutout(images, side, row, column)
    for index in range(64):
        plain = images[index].clone()
        top, left = int(row[index]) - side // 2, int(column[index]) - side // 2
        plain[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
        assert torch.equal(ours[index], plain)


def test_even_cutouts_are_those_of_darts():
    row, column = torch.arange(6).repeat_interleave(8), torch.arange(8).repeat(6)
    ours = cutout(torch.ones(48, 1, 6, 8), 4, row, column)
    for index, (y, x) in enumerate(zip(row.tolist(), column.tolist(), strict=True)):
        mask = np.ones((6, 8), np.float32)
        y1, y2 = np.clip(y - 2, 0, 6), np.clip(y + 2, 0, 6)
        x1, x2 = np.clip(x - 2, 0, 8), np.clip(x + 2, 0, 8)
        mask[y1:y2, x1:x2] = 0
        np.testing.assert_array_equal(ours[index, 0].numpy(), mask)


def test_normalise_equals_torchvision():
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]
    ours = normalise_pixels(
        pixels(), *(torch.tensor(v, dtype=torch.float64)[:, None, None] * 255 for v in (mean, std))
    )
    plain = functional.normalize(pixels().double() / 255, mean, std)
    torch.testing.assert_close(ours, plain, rtol=1e-13, atol=1e-13)


def test_draws_cover_their_ranges_evenly():
    draws = ALL.draw(20_000, height=7, width=6, generator=seeded())
    assert draws.dtype == torch.int64
    for column, limit in zip(draws.T, (5, 5, 2, 7, 6), strict=True):
        share = np.bincount(column.numpy(), minlength=limit) / 20_000
        assert len(share) == limit
        np.testing.assert_allclose(share, 1 / limit, atol=0.015)


def test_the_configuration_chooses_the_augmentation():
    recipe = ImageRecipe(pad=4, flip=True)
    assert Augment.of(recipe, DataConfig()) == Augment(4, True, 0)
    assert Augment.of(recipe, DataConfig(cutout=16)) == Augment(4, True, 16)
    assert Augment.of(recipe, DataConfig(augment=False, cutout=16)) == Augment(0, False, 16)
    assert Augment.of(recipe, DataConfig(augment=False)) is None
    assert Augment.of(ImageRecipe(), DataConfig()) is None


@pytest.mark.parametrize("side", [3, 16])
def test_cutout_strikes_with_its_chance_and_spares_the_others_whole(side):
    augment, count = Augment(cutout=side), 4_000
    images = torch.ones(count, 1, 7, 6)
    whole = augment.draw(count, 7, 6, seeded())
    for chance, allowed in ((0.0, 0), (0.3, 0.03), (1.0, 0)):
        draws = augment.draw(count, 7, 6, seeded(), chance)
        struck = (augment.blank(images, draws) == 0).flatten(1).any(1)
        assert abs(float(struck.double().mean()) - chance) <= allowed
        assert torch.equal(draws[struck], whole[struck])


@pytest.mark.parametrize("augment", [ALL, Augment(flip=True), Augment(pad=1), Augment(cutout=3), None])
def test_an_epoch_equals_torchvisions_pipeline_image_by_image(dataset, augment):
    feed = make_feed(dataset, augment=augment, dtype=torch.float64)
    generator = seeded()
    order = torch.randperm(35, generator=generator)[:32] + 10
    draws = augment.draw(32, 7, 6, generator).tolist() if augment else [[0, 0, 0, 0, 0]] * 32
    plain = []
    for index, (top, left, mirrored, row, column) in zip(order.tolist(), draws, strict=True):
        image = Image.fromarray(dataset.images[index])
        if augment and augment.pad:
            image = functional.crop(functional.pad(image, augment.pad), top, left, 7, 6)
        if augment and augment.flip and mirrored:
            image = functional.hflip(image)
        pixel = torch.from_numpy(np.array(image)).permute(2, 0, 1).double() / 255
        x = functional.normalize(pixel, dataset.mean, dataset.std)
        if augment and augment.cutout:
            corner = row - augment.cutout // 2, column - augment.cutout // 2
            y1, x1 = (max(c, 0) for c in corner)
            y2, x2 = (max(c + augment.cutout, 0) for c in corner)
            x[:, y1:y2, x1:x2] = 0
        plain.append(x)
    batches = list(feed.epoch())
    torch.testing.assert_close(torch.cat([x for x, _ in batches]), torch.stack(plain), rtol=1e-12, atol=1e-12)
    assert torch.cat([y for _, y in batches]).tolist() == dataset.labels[order].tolist()


def test_an_epoch_is_full_batches_of_different_images(dataset):
    feed = make_feed(dataset, augment=None)
    assert feed.steps_per_epoch == 4
    batches = list(feed.epoch())
    assert [tuple(x.shape) for x, _ in batches] == [(8, 3, 7, 6)] * 4
    assert {x.dtype for x, _ in batches} == {torch.float32}
    rows = torch.cat([x for x, _ in batches]).flatten(1)
    assert len(torch.unique(rows, dim=0)) == 32
    known = torch.cat([x for x, _ in feed.plain()]).flatten(1)
    assert len(torch.unique(torch.cat([rows, known]), dim=0)) == 35


def test_the_same_state_gives_the_same_epochs(dataset):
    first, second = (make_feed(dataset, seeded(4), augment=ALL) for _ in range(2))
    epochs = [list(first.epoch()) for _ in range(3)]
    assert all(same(epoch, list(second.epoch())) for epoch in epochs)
    assert not same(epochs[0], epochs[1])
    assert not same(epochs[0], list(make_feed(dataset, seeded(5), augment=ALL).epoch()))


def test_a_search_resumes_from_the_generators_state(dataset):
    generator = seeded()
    feed = make_feed(dataset, generator, augment=ALL)
    list(feed.epoch())
    state = generator.get_state()
    rest = [list(feed.epoch()) for _ in range(2)]
    restored = torch.Generator()
    restored.set_state(state)
    again = make_feed(dataset, restored, augment=ALL)
    assert all(same(epoch, list(again.epoch())) for epoch in rest)


def test_an_epoch_draws_when_it_is_asked_for(dataset):
    used, unused = seeded(), seeded()
    list(make_feed(dataset, used, augment=ALL).epoch())
    make_feed(dataset, unused, augment=ALL).epoch()
    assert torch.equal(used.get_state(), unused.get_state())
    assert not torch.equal(used.get_state(), seeded().get_state())


def test_switching_on_one_augmentation_moves_no_other(dataset):
    plain = list(make_feed(dataset, augment=Augment(pad=2)).epoch())
    cut = list(make_feed(dataset, augment=Augment(pad=2, cutout=2)).epoch())
    for (x, _), (other, _) in zip(plain, cut, strict=True):
        changed = (x != other).any(1).flatten(1).sum(1)
        assert 0 < changed.max() <= 4


def test_more_steps_than_a_pass_begin_another(dataset):
    feed = make_feed(dataset, seeded(1))
    batches = list(feed.epoch(steps=11))
    assert len(batches) == 11
    twice = torch.cat([x for x, _ in batches[:8]]).flatten(1)
    assert len(torch.unique(twice[:32], dim=0)) == len(torch.unique(twice[32:], dim=0)) == 32
    assert same(batches[:4], list(make_feed(dataset, seeded(1)).epoch()))


def test_fewer_images_than_a_batch_are_one_batch(dataset):
    feed = make_feed(dataset, batch=64, augment=ALL)
    assert feed.steps_per_epoch == 1
    ((x, y),) = feed.epoch()
    assert (len(x), len(y)) == (35, 35)
    with pytest.raises(RaynasError, match="a feed needs images"):
        ImageFeed(Images(dataset), np.arange(0), 8, seeded())


def test_plain_is_every_image_in_order(dataset):
    feed = make_feed(dataset, augment=ALL)
    batches = list(feed.plain(16))
    assert [len(y) for _, y in batches] == [16, 16, 3]
    assert torch.cat([y for _, y in batches]).tolist() == dataset.labels[10:45].tolist()
    x = torch.cat([x for x, _ in batches])
    back = x * torch.tensor(dataset.std)[:, None, None] + torch.tensor(dataset.mean)[:, None, None]
    np.testing.assert_allclose(back.permute(0, 2, 3, 1).numpy() * 255, dataset.images[10:45], atol=1e-3)
    assert [len(y) for _, y in feed.plain()] == [8, 8, 8, 8, 3]


def test_batches_to_look_at_hold_mixed_classes_though_the_images_are_sorted(dataset):
    """As image folders are: with one class per batch, its statistics take away what tells the class."""
    order = np.argsort(dataset.labels, kind="stable")
    by_class = from_arrays("sorted", dataset.images[order], dataset.labels[order])
    feed = make_feed(by_class)
    found = list(feed.mixed(8))
    assert min(len(set(y.tolist())) for _, y in found) > 2
    labels = torch.cat([y for _, y in found])
    assert sorted(labels.tolist()) == sorted(by_class.labels[10:45].tolist())
    assert same(found, list(make_feed(by_class, seeded(1)).mixed(8))), "the same to every search"
    assert same(list(make_feed(dataset).mixed(8)), list(make_feed(dataset).plain(8))), (
        "mixed images stay in order"
    )


def test_the_probe_depends_on_its_own_generator_only(dataset):
    generator = seeded()
    feed = make_feed(dataset, generator, augment=ALL)
    first = feed.probe(3, 10, seeded(9))
    list(feed.epoch())
    assert same(first, feed.probe(3, 10, seeded(9)))
    assert not same(first, feed.probe(3, 10, seeded(8)))
    rows = torch.cat([x for x, _ in first]).flatten(1)
    assert len(torch.unique(rows, dim=0)) == 30
    assert [len(y) for _, y in feed.probe(2, 100, seeded(9))] == [35, 35]
    assert torch.equal(feed.probe(1, 8, seeded(9))[0][1], make_feed(dataset).probe(1, 8, seeded(9))[0][1])


def test_feeds_leave_torchs_global_generator_alone(dataset):
    state = torch.get_rng_state()
    feed = make_feed(dataset, augment=ALL)
    list(feed.epoch())
    feed.probe(1, 8, seeded())
    assert torch.equal(torch.get_rng_state(), state)


def test_shared_read_only_arrays_are_used_in_place(dataset):
    before = dataset.images.copy()
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(dataset, protocol=5, buffer_callback=buffers.append)
    shared = pickle.loads(text, buffers=[bytes(buffer.raw()) for buffer in buffers])
    assert not shared.images.flags.writeable
    indices = np.arange(10, 45)
    indices.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = Images(shared)
        feed = ImageFeed(images, indices, 8, seeded(), ALL)
        epochs = [list(feed.epoch()) for _ in range(2)]
    assert images._source.data_ptr() == shared.images.ctypes.data
    np.testing.assert_array_equal(shared.images, before)
    ours = make_feed(dataset, augment=ALL)
    assert all(same(epoch, list(ours.epoch())) for epoch in epochs)


def test_the_test_set_has_its_own_images(dataset):
    images = Images(dataset, part="test")
    assert len(images) == 5
    assert [y.tolist() for _, y in ImageFeed(images, np.arange(5), 4, seeded()).plain()] == [
        [0, 1, 2, 3],
        [4],
    ]
    with pytest.raises(RaynasError, match="no test images"):
        Images(from_arrays("mine", dataset.images, dataset.labels), part="test")


def test_gray_digits_come_out_normalised():
    dataset = load_data(DataConfig())
    feed = ImageFeed(Images(dataset), np.arange(1438), 64, seeded(), Augment.of(dataset.recipe, DataConfig()))
    x = torch.cat([x for x, _ in feed.plain()])
    assert x.shape == (1438, 1, 8, 8)
    torch.testing.assert_close((x.mean(), x.std(correction=0)), (torch.tensor(0.0), torch.tensor(1.0)))
    assert next(iter(feed.epoch()))[0].shape == (64, 1, 8, 8)


@pytest.fixture(scope="module")
def png_folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pngs")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (root / name).mkdir()
        for index in range(12):
            size = (9, 7 + index % 3, 3)
            Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(root / name / f"{index}.png")
    return root


def from_folder(root: Path, storage: str) -> Dataset:
    return load_data(DataConfig(name="folder", path=str(root), size=6, storage=storage))


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_images_give_the_numbers_of_resident_ones(png_folder, workers):
    resident, streamed = (
        ImageFeed(
            Images(from_folder(png_folder, storage), workers=workers), np.arange(3, 36), 8, seeded(), ALL
        )
        for storage in ("memory", "stream")
    )
    state = torch.get_rng_state()
    for _ in range(2):
        assert same(list(resident.epoch()), list(streamed.epoch()))
    assert same(list(resident.plain(10)), list(streamed.plain(10)))
    assert same(resident.probe(2, 5, seeded(1)), streamed.probe(2, 5, seeded(1)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 1])
def test_feeds_that_share_a_stream_do_not_disturb_each_other(png_folder, workers):
    images = Images(from_folder(png_folder, "stream"), workers=workers)
    resident = Images(from_folder(png_folder, "memory"))

    def interleaved(source: Images) -> list[ImageBatch]:
        train = ImageFeed(source, np.arange(0, 18), 6, seeded(1), ALL)
        valid = ImageFeed(source, np.arange(18, 36), 6, seeded(2), ALL)
        return [batch for pair in zip(train.epoch(), valid.epoch(), strict=True) for batch in pair]

    with contextlib.closing(ImageFeed(images, np.arange(36), 4, seeded()).epoch()) as abandoned:
        next(abandoned)
    assert same(interleaved(images), interleaved(resident))
    assert same(interleaved(images), interleaved(resident))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_vanishes_is_named(tmp_path, workers):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (6, 6)).save(tmp_path / name / "0.png")
    feed = ImageFeed(Images(from_folder(tmp_path, "stream"), workers=workers), np.arange(2), 2, seeded())
    (tmp_path / "b" / "0.png").unlink()
    with pytest.raises(RaynasError, match=r"cannot read the image .*b/0\.png") as caught:
        list(feed.epoch())
    assert caught.value.next_step == "check the path"


def test_crops_are_squares_of_one_channel_of_the_images():
    pixels = np.arange(6 * 5 * 7 * 3, dtype=np.uint16).reshape(6, 5, 7, 3) % 251
    dataset = from_arrays("counted", pixels.astype(np.uint8), np.zeros(6, dtype=np.int64), classes=2)
    feed = ImageFeed(Images(dataset), np.array([1, 3, 4]), 2, torch.Generator(), dtype=torch.float64)
    found = feed.crops(60, 3, torch.Generator().manual_seed(0))
    assert found.shape == (60, 1, 3, 3)
    assert torch.equal(found, feed.crops(60, 3, torch.Generator().manual_seed(0)))
    images = torch.cat([images for images, _ in feed.plain()])
    squares = images.unfold(2, 3, 1).unfold(3, 3, 1).reshape(-1, 3, 3)
    places = [int((squares == each[0]).all(-1).all(-1).nonzero()[0]) for each in found]
    assert len(set(places)) > 30
    assert {place // (3 * 3 * 5) for place in places} == {0, 1, 2}
    assert {place // (3 * 5) % 3 for place in places} == {0, 1, 2}
    assert {place % 15 for place in places} == set(range(15))
