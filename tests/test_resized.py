"""Random resized crops and colour jitter: torchvision's, given the same draws; resume; portions."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional
from torchvision.transforms.v2 import functional as v2

from raynas.data.augment import NUMBERS, Augment
from raynas.data.boxes import NUMBERS as OF_A_BOX
from raynas.data.boxes import TRIES, boxes
from raynas.data.catalogue import ImageRecipe
from raynas.data.dataset import from_arrays
from raynas.data.feed import ImageFeed, Images
from raynas.data.jitter import Jitter
from raynas.data.load import load_data
from raynas.data.pixels import fitted
from raynas.data.portion import Portion
from raynas.data.resized import places, resample
from raynas.train.config import TrainData
from raynas.train.deployed import Card
from raynas.train.reading import read_image

STRONG = Jitter(0.4, 0.4, 0.4, 0.2)
BOTH = Augment(flip=True, resized=True, jitter=STRONG)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def photograph(height, width, seed=0):
    """Smooth colours with some noise, so that no shift of a pixel or a colour passes unseen."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    for part in ("train", "test"):
        for name in ("a", "b"):
            (root / part / name).mkdir(parents=True)
            for number in range(5):
                pixels = photograph(40 + 3 * number, 51 - 2 * number, seed=number)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


def config(folder, **changes):
    return TrainData(**{"name": "folder", "path": str(folder), "size": 28, "crop": "resized"} | changes)


def torchvision_box(numbers, height, width):
    """torchvision 0.29, RandomResizedCrop.get_params, its random numbers taken from a list."""
    numbers = numbers.astype(np.float64)
    for area, ratio in zip(numbers[:TRIES], numbers[TRIES : 2 * TRIES], strict=True):
        target = height * width * (0.08 + 0.92 * area)
        low, high = math.log(3 / 4), math.log(4 / 3)
        aspect = math.exp(low + (high - low) * ratio)
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(numbers[-2] * (height - h + 1)), int(numbers[-1] * (width - w + 1))
            return [top, left, h, w]
    w, h = width, height
    if width / height < 3 / 4:
        h = round(w / (3 / 4))
    elif width / height > 4 / 3:
        w = round(h * (4 / 3))
    return [(height - h) // 2, (width - w) // 2, h, w]


@pytest.mark.parametrize(("height", "width"), [(375, 500), (32, 32), (300, 40), (20, 900), (1, 1)])
def test_boxes_are_torchvisions(height, width):
    numbers = np.random.default_rng(0).random((300, OF_A_BOX), dtype=np.float32)
    found = boxes(numbers, height, width)
    assert found.tolist() == [torchvision_box(row, height, width) for row in numbers]
    assert (found[:, :2] >= 0).all()
    assert (found[:, :2] + found[:, 2:] <= (height, width)).all()


def test_a_file_is_cropped_and_tested_as_torchvision_does(folder):
    dataset = load_data(config(folder))
    assert dataset.streamed
    numbers = np.random.default_rng(1).random((10, OF_A_BOX), dtype=np.float32)
    cropped, centred = dataset.images.decode(numbers), dataset.test_images.decode()
    whole = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(28)])
    for number in range(10):
        with Image.open(dataset.images.path(number)) as image:
            box = boxes(numbers[number : number + 1], image.height, image.width)[0].tolist()
            wanted = functional.resized_crop(image, *box, [28, 28])
            assert np.array_equal(cropped[number], np.asarray(wanted))
        with Image.open(dataset.test_images.path(number)) as image:
            assert np.array_equal(centred[number], np.asarray(whole(image)))


@pytest.mark.parametrize(("height", "width"), [(375, 500), (333, 250), (224, 224), (101, 700)])
def test_the_centre_is_that_of_the_protocols(height, width):
    """Resize(256) and CenterCrop(224), whatever the sides."""
    image = Image.fromarray(photograph(height, width))
    wanted = transforms.CenterCrop(224)(transforms.Resize(256)(image))
    assert np.array_equal(np.asarray(fitted(image, (224, 224), 0.875)), np.asarray(wanted))


@pytest.mark.parametrize("size", [(32, 32), (20, 50)])
def test_a_whole_batch_is_scaled_as_pillow_scales_each(size):
    images = np.stack([photograph(64, 48, seed) for seed in range(70)])
    numbers = torch.rand(70, OF_A_BOX, generator=seeded())
    parts = places(numbers, 64, 48)
    ours = resample(torch.from_numpy(images).permute(0, 3, 1, 2), parts, size)
    each = zip(images, parts.tolist(), strict=True)
    plain = torch.stack(
        [
            functional.pil_to_tensor(functional.resized_crop(Image.fromarray(image), *box, list(size)))
            for image, box in each
        ]
    )
    apart = (ours.int() - plain.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).double().mean() < 0.25
    assert abs((ours.double() - plain.double()).mean()) < 0.02


def test_jitter_is_torchvisions_in_the_order_drawn():
    count = 48
    images = np.stack([photograph(16, 12, seed) for seed in range(count)])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    uniform = torch.rand(count, 8, generator=seeded(3))
    ours = STRONG(pixels, uniform)
    assert torch.equal(pixels, torch.from_numpy(images).permute(0, 3, 1, 2))
    changes = (v2.adjust_brightness, v2.adjust_contrast, v2.adjust_saturation, v2.adjust_hue)
    apart = []
    for image, numbers, found in zip(pixels, uniform, ours, strict=True):
        factors = [0.6 + 0.8 * u for u in numbers[:3].tolist()] + [-0.2 + 0.4 * numbers[3].item()]
        for which in numbers[4:].argsort().tolist():
            image = changes[which](image, factors[which])
        apart.append((found.int() - image.int()).abs())
    # What one rounds up and the other down, later changes may carry on by a step or two.
    assert torch.stack(apart).max() <= 3
    assert (torch.stack(apart) > 0).double().mean() < 0.01


@pytest.mark.parametrize("number", range(4))
def test_each_change_alone_is_torchvisions(number):
    strength = (0.9, 0.9, 0.9, 0.5)[number]
    jitter = Jitter(*(strength if place == number else 0.0 for place in range(4)))
    pixels = torch.randint(0, 256, (60, 3, 5, 7), generator=seeded(), dtype=torch.uint8)
    pixels[:9] = pixels[:9, :1]  # grays, which have no hue
    uniform = torch.rand(60, 8, generator=seeded(1))
    low, high = (-0.5, 0.5) if number == 3 else (0.1, 1.9)
    change = (v2.adjust_brightness, v2.adjust_contrast, v2.adjust_saturation, v2.adjust_hue)[number]
    plain = torch.stack(
        [change(x, low + (high - low) * u) for x, u in zip(pixels, uniform[:, number].tolist(), strict=True)]
    )
    apart = (jitter(pixels, uniform).int() - plain.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).double().mean() < 0.01


def test_gray_images_change_in_brightness_and_contrast_alone():
    pixels = torch.randint(0, 256, (6, 1, 4, 4), generator=seeded(), dtype=torch.uint8)
    uniform = torch.rand(6, 8, generator=seeded(1))
    assert torch.equal(Jitter(saturation=1.0, hue=0.5)(pixels, uniform), pixels)
    assert not torch.equal(Jitter(contrast=0.9)(pixels, uniform), pixels)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_of_files_equals_torchvisions_pipeline(folder, workers):
    dataset = load_data(config(folder))
    feed = ImageFeed(Images(dataset, workers=workers), np.arange(10), 4, seeded(), BOTH, torch.float64)
    generator = seeded()
    order = torch.randperm(10, generator=generator)
    draws = BOTH.draw(10, 28, 28, generator)
    more = BOTH.draw_more(10, generator)
    plain = []
    for index, drawn, numbers in zip(order.tolist(), draws.tolist(), more, strict=True):
        with Image.open(dataset.images.path(index)) as image:
            box = boxes(numbers[None, :OF_A_BOX].numpy(), image.height, image.width)[0].tolist()
            image = functional.resized_crop(image, *box, [28, 28])
        image = functional.hflip(image) if drawn[2] else image
        pixels = STRONG(functional.pil_to_tensor(image)[None], numbers[None, OF_A_BOX:])[0]
        plain.append(functional.normalize(pixels.double() / 255, dataset.mean, dataset.std))
    batches = list(feed.whole_epoch())
    torch.testing.assert_close(torch.cat([x for x, _ in batches]), torch.stack(plain), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_generators_state_repeats_the_next_epoch_and_parts_make_up_the_whole(folder, streamed):
    arrays = np.stack([photograph(28, 28, seed) for seed in range(11)])
    resident = from_arrays("photographs", arrays, np.arange(11) % 2, recipe=ImageRecipe(flip=True))
    images = Images(load_data(config(folder)) if streamed else resident, workers=0)
    count = len(images)
    generator = seeded()
    feed = ImageFeed(images, np.arange(count), 4, generator, BOTH)
    first = list(feed.whole_epoch())
    state = generator.get_state()
    second = list(feed.whole_epoch())
    assert not torch.equal(first[0][0], second[0][0])
    for number in (0, 1):
        generator.set_state(state)
        halves = list(feed.whole_epoch(Portion(number, 2)))
        for (x, _), (whole, labels) in zip(halves, second, strict=True):
            middle = len(labels) // 2 if len(labels) > 3 else len(labels)
            assert torch.equal(x, whole[middle:] if number else whole[:middle])


def test_portions_share_out_every_batch_and_none_is_a_single_image():
    parts = [Portion(number, 3) for number in range(3)]
    dealt = [part.deal(23, 10) for part in parts]
    assert [sizes[0] for _, sizes in dealt] == [3, 3, 4]
    assert sorted(torch.cat([rows for rows, _ in dealt]).tolist()) == list(range(23))
    # A rest of 3 images is one part of 3, and one of 1 is a part of its own, as it would be alone.
    assert [sizes[-1] for _, sizes in dealt] == [3, 0, 0]
    assert [part.deal(11, 10)[1][-1] for part in parts] == [1, 0, 0]
    assert Portion().deal(23, 10)[1] == [10, 10, 3]


def test_what_is_switched_off_draws_nothing():
    """So that trainings with the padded crop have the numbers that they had before there was another."""
    plain = Augment.of(ImageRecipe(pad=4, flip=True), TrainData(), Jitter())
    assert plain == Augment(4, True)
    assert plain.draw_more(5, seeded()) is None
    wanted = TrainData(crop="resized", hue=0.1)
    augment = Augment.of(ImageRecipe(pad=4, flip=True), wanted, Jitter(*wanted.jitter))
    assert augment == Augment(0, True, 0, True, Jitter(hue=0.1))
    assert augment.draw_more(5, seeded()).shape == (5, NUMBERS)
    assert Augment.of(ImageRecipe(pad=4), TrainData(crop="resized", augment=False), Jitter(hue=0.1)) is None


def test_a_folder_that_is_cropped_anew_is_not_kept_in_memory(folder):
    with pytest.raises(ValueError, match="stream or auto"):
        config(folder, storage="memory")


def test_a_network_reads_files_as_it_was_tested(folder):
    trained = {"config": {"data": config(folder).model_dump(mode="json")}}
    card = Card(
        genotype={}, shape=(3, 28, 28), class_names=("a", "b"), channels=2, cells=3, mean=(0.5,) * 3,
        std=(0.5,) * 3, data="photographs", trained=trained,
    )  # fmt: skip
    files = load_data(config(folder)).test_images
    assert card.kept == 0.875
    assert np.array_equal(read_image(files.path(0), card.shape, fit=True, kept=card.kept), files.decode()[0])
    assert card.model_copy(update={"trained": {"config": {"data": {"newer": 1}}}}).kept is None
