"""The same samples in the same order, from any number of workers and from the middle of an epoch."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from classifier.preprocessing import Preprocessing
from train import batches, data, pixels
from train.augmentation import Augmentation
from train.batches import FeatureBatches, Order, PictureBatches
from train.distributed import Group
from train.pixels import Pixels

CPU = torch.device("cpu")
SMALL = Preprocessing(40, 32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture
def split(draw_classes):
    return data.find({"training": draw_classes("plain", count=6)}, 0.2, 0.2, seed=0).train


def collect(source, epoch=1, skip=0):
    inputs, targets = zip(*source.epoch(epoch, skip), strict=True)
    return torch.cat(inputs), torch.cat(targets)


@pytest.mark.parametrize("augment", ["none", "basic", "trivial"])
def test_workers_do_not_change_what_is_seen(split, augment):
    order = Order(len(split), 5, seed=3)
    alone = PictureBatches(split, SMALL, order, 0, CPU, Augmentation(SMALL, augment))
    helped = PictureBatches(split, SMALL, order, 2, CPU, Augmentation(SMALL, augment))
    for epoch in (1, 2):
        for one, other in zip(collect(alone, epoch), collect(helped, epoch), strict=True):
            assert torch.equal(one, other)


def test_epochs_differ_in_order_and_augmentation(split):
    source = PictureBatches(split, SMALL, Order(len(split), 4, seed=0), 0, CPU, Augmentation(SMALL, "basic"))
    first, second = collect(source, 1), collect(source, 2)
    assert not torch.equal(first[1], second[1])
    assert sorted(first[1].tolist()) == sorted(second[1].tolist())
    unshuffled = PictureBatches(split, SMALL, Order(len(split), 4), 0, CPU, Augmentation(SMALL, "basic"))
    assert not torch.equal(collect(unshuffled, 1)[0], collect(unshuffled, 2)[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_begin_in_the_middle(split, workers):
    source = PictureBatches(split, SMALL, Order(len(split), 4, seed=0), workers, CPU, Augmentation(SMALL, "basic"))
    whole, rest = collect(source), collect(source, skip=2)
    assert torch.equal(whole[0][8:], rest[0])
    assert torch.equal(whole[1][8:], rest[1])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("augment", "room", "spared"), [("none", 12, 24), ("none", 5, 10), ("none", 0, 0), ("basic", 12, 0)]
)
def test_pictures_that_stay_the_same_are_decoded_once(split, monkeypatch, tmp_path, workers, augment, room, spared):
    order, augmentation = Order(len(split), 4, seed=0), Augmentation(SMALL, augment)
    usual = PictureBatches(split, SMALL, order, workers, CPU, augmentation)
    expected = [collect(usual, epoch) for epoch in (1, 2, 3)]
    monkeypatch.setattr(pixels.memory, "available", lambda: 4 * room * 3 * SMALL.crop_size**2)
    kept = Pixels.of(SMALL, len(split), 1, math.inf)
    digests = tuple(map(str.encode, split.names))
    assert [kept.add(digest) for digest in digests] == [True] * room + [False] * (len(split) - room)
    log, real = tmp_path / "decoded", batches.pictures.decode

    def decode(*given):
        with log.open("a") as file:  # from whichever process
            file.write(".")
        return real(*given)

    monkeypatch.setattr(batches.pictures, "decode", decode)
    often = PictureBatches(replace(split, digests=digests, pixels=kept), SMALL, order, workers, CPU, augmentation)
    for epoch, (inputs, targets) in enumerate(expected, 1):
        found = collect(often, epoch)
        assert torch.equal(found[0], inputs) and torch.equal(found[1], targets)
    assert log.stat().st_size == 3 * len(split) - spared
    # What is all there needs no processes.
    held = PictureBatches(replace(split, digests=digests, pixels=kept), SMALL, order, workers, CPU, augmentation)
    assert held._loader.num_workers == (0 if augment == "none" and room == len(split) else workers)


def test_the_random_stream_of_the_network_is_left_alone(split):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    collect(PictureBatches(split, SMALL, Order(len(split), 4, seed=0), 0, CPU, Augmentation(SMALL, "trivial")))
    assert torch.equal(torch.get_rng_state(), before)


def test_little_shared_memory_changes_nothing(split, monkeypatch):
    order = Order(len(split), 4, seed=0)
    usual = collect(PictureBatches(split, SMALL, order, 2, CPU))
    monkeypatch.setattr(batches, "fits_shared_memory", lambda size: False)
    through_pipes = collect(PictureBatches(split, SMALL, order, 2, CPU))
    assert torch.equal(usual[0], through_pipes[0])
    assert torch.equal(usual[1], through_pipes[1])


def test_inputs_are_normalised(split):
    inputs, _ = collect(PictureBatches(split, SMALL, Order(len(split), 4), 0, CPU))
    assert inputs.shape == (len(split), 3, 32, 32)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert -2.01 <= inputs.min() <= inputs.max() <= 2.01


def test_feature_batches_cover_each_sample_once_and_skip():
    features = torch.arange(10.0).reshape(10, 1)
    source = FeatureBatches(features, torch.arange(9, -1, -1)[:, None], torch.arange(9, -1, -1), Order(10, 4, seed=1))
    inputs, targets = collect(source)
    assert len(source.order) == 3
    assert torch.equal(inputs[:, 0].long(), targets)
    assert sorted(targets.tolist()) == list(range(10))
    assert torch.equal(collect(source, skip=1)[1], targets[4:])


def test_each_epoch_shows_one_of_a_pictures_versions():
    rows = torch.arange(40).reshape(10, 4)
    source = FeatureBatches(torch.arange(40.0)[:, None], rows, torch.arange(10), Order(10, 4, seed=1))
    seen = [collect(source, epoch) for epoch in range(1, 40)]
    for inputs, targets in seen:
        assert torch.equal(inputs[:, 0].long() // 4, targets)
    assert torch.cat([inputs for inputs, _ in seen]).unique().numel() == 40
    assert torch.equal(collect(source, 5, skip=1)[0], seen[4][0][4:])


@pytest.mark.parametrize(("classes", "samples"), [((0,) * 20 + (1,) * 3 + (2,), 24), ((0, 1, 1, 1, 1, 2, 2), 7)])
def test_balanced_sampling_shows_classes_equally_often(classes, samples):
    order = Order(samples, 5, seed=2, classes=classes)
    epochs = [torch.cat(order.batches(epoch)) for epoch in (1, 2, 3)]
    for positions in epochs:
        assert len(positions) == samples
        shown = torch.bincount(torch.tensor(classes)[positions])
        assert shown.max() - shown.min() <= 1
        for number in range(3):  # none is shown again before all of its class have been
            times = torch.bincount(positions, minlength=samples)[torch.tensor(classes) == number]
            assert times.max() - times.min() <= 1
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(torch.cat(order.batches(2, skip=1)), epochs[1][5:])


@pytest.mark.parametrize(("samples", "batch", "expected"), [(9, 4, 8), (10, 4, 10), (8, 4, 8), (1, 4, 1), (3, 8, 3)])
def test_no_last_batch_of_one_where_batch_normalisation_learns(samples, batch, expected):
    order = Order(samples, batch, seed=0, whole=True)
    assert sum(map(len, order.batches(1))) == sum(map(order.size_of, range(len(order)))) == expected
    assert len(order) == -(-expected // batch)


def test_a_batch_size_beyond_the_data_is_one_batch(split):
    source = PictureBatches(split, SMALL, Order(len(split), 1000, seed=0), 2, CPU)
    assert len(source.order) == 1
    assert collect(source)[0].shape[0] == len(split)


@pytest.mark.parametrize("size", [2, 3])
def test_replicas_share_each_batch_without_repeats(size):
    alone = Order(20, 8, seed=4)
    shares = [Order(20, 8, seed=4, group=Group(rank, size)) for rank in range(size)]
    for number, batch in enumerate(alone.batches(1)):
        parts = [order.batches(1)[number].tolist() for order in shares]
        assert sorted(itertools.chain(*parts)) == sorted(batch.tolist())
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert shares[0].size_of(number) == len(batch)
