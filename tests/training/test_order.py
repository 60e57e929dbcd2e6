"""The order of samples is a function of seed and epoch alone."""

import torch

from stillroom.training.order import EpochOrder

LENGTHS = torch.randint(1, 500, (1003,), generator=torch.Generator().manual_seed(0)).tolist()


def test_every_sample_comes_once_and_the_same_way_again():
    order = EpochOrder(LENGTHS, 8, seed=1)
    first = list(order)
    assert sorted(first) == list(range(len(LENGTHS)))
    assert list(order) == first
    order.set_epoch(1)
    assert list(order) != first


def test_grouping_halves_the_padding_at_least():
    def padding(order):
        batches = torch.tensor(LENGTHS)[torch.tensor(list(order))].split(8)
        return sum(int((batch.max() - batch).sum()) for batch in batches)

    grouped, random = EpochOrder(LENGTHS, 8, 1), EpochOrder(LENGTHS, 8, 1, group=False)
    assert padding(grouped) < 0.5 * padding(random)


def test_length_does_not_follow_time():
    lengths = torch.tensor(LENGTHS, dtype=torch.float)[torch.tensor(list(EpochOrder(LENGTHS, 8, 1)))]
    half = len(lengths) // 2
    assert abs(lengths[:half].mean() - lengths[half:].mean()) < 0.1 * lengths.mean()
