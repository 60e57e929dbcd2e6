"""MinED against plain loops: the map, the positions, the moved mass, and labels where nothing is aligned."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from objectives.vocabulary.two_sides import OURS as LETTERS
from objectives.vocabulary.two_sides import THEIRS as OTHER_LETTERS
from objectives.vocabulary.two_sides import both, probabilities, slopes_are_right, texts
from objectives.vocabulary.two_texts import OURS, PIECES, THEIRS, shape, trial
from reference import mined as reference
from reference.vocabulary import context

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import Signals
from stillroom.objectives.vocabulary._edit_distance import edit_distances, nearest, spellings
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER, check_objective

MinED = objectives.find("vocabulary.mined")
SPELLED = [[None, *(piece.encode() for piece in pieces[1:]), None, None] for pieces in PIECES]
"""Bytes of every id; the end token and two rows beyond the tokenizer have none."""


WORDS = ["abcde", "abcd", "abXc", "z"]


def mapping(merge):
    found = reference.nearest_map(*SPELLED, roles=[(0, 0)])
    return reference.one_each(found) if merge == "one" else found


@pytest.mark.parametrize("merge", ["sum", "one"])
def test_the_map_is_that_of_the_loops(merge):
    objective = MinED(merge=merge)
    objective.setup(OURS, THEIRS)
    expected = {j: i for j, (_, i) in mapping(merge).items()}
    assert objective.goal.tolist() == [expected.get(j, OURS.vocab_size) for j in range(THEIRS.vocab_size)]


def test_distances_are_those_of_the_loops():
    generator = np.random.default_rng(0)
    words = [
        bytes(generator.choice([97, 98, 32, 255], generator.integers(0, 12)).tolist()) for _ in range(40)
    ]
    found = edit_distances(
        [each.decode("latin-1") for each in words[:15]], [each.decode("latin-1") for each in words]
    )
    assert found.tolist() == [[reference.edit_distance(a, b) for b in words] for a in words[:15]]
    assert edit_distances(["a" * 300], ["b" * 300, "a" * 300]).tolist() == [[255, 0]]
    assert edit_distances([], ["a"]).shape == (0, 1)


def test_blocks_give_the_same_as_all_at_once(monkeypatch):
    words = tuple(map(chr, range(60))), tuple("ab" + chr(index) for index in range(60))
    whole = [each.tolist() for each in nearest(*words)]
    nearest.cache_clear()
    monkeypatch.setattr("stillroom.objectives.vocabulary._edit_distance._BLOCK", 7 * 60)
    assert [each.tolist() for each in nearest(*words)] == whole


def test_end_tokens_are_spelled_alike_and_special_ones_not_at_all():
    ours = replace(STUDENT, vocab_size=STUDENT.vocab_size + 1)
    assert spellings(ours) == (chr(256), *"abcdefghijkl", "")
    assert spellings(replace(ours, end_token=None))[0] == ""
    assert len(set(spellings(replace(ours, tokens=None)))) == 14


def test_of_all_that_go_to_one_token_the_nearest_is_taken():
    ours, theirs = (
        shape(STUDENT, ["</s>", *words], name) for name, words in (("a", ["abc", "z"]), ("b", WORDS))
    )
    objective = MinED(merge="one")
    objective.setup(ours, theirs)
    assert objective.goal.tolist() == [0, 5, 1, 5, 2, 5, 5]  # two rows beyond either tokenizer: 5 is nowhere


def test_a_piece_for_one_byte_comes_last_among_equals():
    table = replace(STUDENT.tokens, fallback=np.arange(13) == 1)
    objective = MinED()
    objective.setup(replace(STUDENT, tokens=table), OTHER_TEACHER)
    assert objective.goal[OTHER_TEACHER.tokens.pieces.index(b"x")] == 2


def sides(batch):
    """For every sample: both sides' byte ends, trained tokens and ids, as lists."""
    parts = [
        each.tolist()
        for side in (batch.student, batch.teacher)
        for each in (side.byte_ends, side.response_mask, side.input_ids)
    ]
    return list(zip(*parts, strict=True))


def warped(ours, theirs, found):
    """Pairs of predicting positions that read tokens which the map sends to each other, one to one."""
    predicting = [[t for t in range(len(mask) - 1) if mask[t + 1]] for _, mask, _ in (ours, theirs)]
    spelled = [
        [("end",) if ids[t] == 0 else pieces[ids[t]] or b"" for t in places]
        for places, (_, _, ids), pieces in zip(predicting, (ours, theirs), SPELLED, strict=True)
    ]
    cost = [[reference.edit_distance(a, b) for b in spelled[1]] for a in spelled[0]]
    path = reference.warping_path(cost, ("diagonal", "row", "column"))
    pairs = [(predicting[0][i], predicting[1][j]) for i, j in reference.one_to_one(path).items()]
    return [(i, j) for i, j in pairs if found.get(theirs[2][j], (0, -1))[1] == ours[2][i]]


def expected(positions, batch, ours, theirs, found, temperature, labels):
    """Value and how many pairs."""
    q, p = probabilities(Signals(ours), temperature), probabilities(Signals(theirs), temperature)
    total, count = 0.0, 0
    for row, sample in enumerate(sides(batch)):
        left, right = sample[:3], sample[3:]
        if positions == "dtw":
            pairs = warped(left, right, found)
        else:
            pairs = {"exact": reference.exact, "context": context}[positions](*left[:2], *right[:2])
        for i, j in pairs:
            total += reference.forward_kl(reference.moved(p[row][j], found, len(q[row][i])), q[row][i])
        count += len(pairs)
        if labels:
            alone = {t for t in range(len(left[1]) - 1) if left[1][t + 1]} - {i for i, _ in pairs}
            total += sum(-math.log(q[row][t][left[2][t + 1]]) for t in alone)
    return total, count


@pytest.mark.parametrize("unaligned", ["skip", "label"])
@pytest.mark.parametrize("merge", ["sum", "one"])
@pytest.mark.parametrize("positions", ["exact", "context", "dtw"])
def test_value_is_that_of_the_loops(positions, merge, unaligned):
    for seed in range(3):
        objective = MinED(positions=positions, merge=merge, unaligned=unaligned, temperature=1.5)
        _, batch, ours, theirs = trial(objective, seed, left=seed == 1)
        loss = objective(Signals(ours), Signals(theirs), batch)["divergence"]
        labels = unaligned == "label"
        total, pairs = expected(positions, batch, ours, theirs, mapping(merge), 1.5, labels)
        assert pairs > 0
        assert loss.total.item() == pytest.approx(total, rel=1e-9)
        count = int(batch.student.predicts.sum()) if labels else pairs
        assert (int(loss.count), loss.unit) == (count, "tokens" if labels else "pairs")
        assert int(objective.counts(batch)["divergence"]) == count


def test_exact_pairs_are_found_by_bytes():
    objective = MinED()
    objective.setup(LETTERS, OTHER_LETTERS)
    asked = both()[0]
    found = zip(*(each.tolist() for each in objective.pairs(asked)), strict=True)
    by_loops = [(row, *pair) for row, text in enumerate(texts(asked)) for pair in reference.exact(*text)]
    assert sorted(found) == sorted(by_loops)
    assert len(by_loops) > 0


@pytest.mark.parametrize("unaligned", ["skip", "label"])
def test_slopes(unaligned):
    objective = MinED(positions="context", unaligned=unaligned)
    objective.setup(LETTERS, OTHER_LETTERS)
    assert slopes_are_right(objective, *both())


def test_a_spelling_of_its_own_moves_to_the_nearest_token():
    """A teacher that says `aa` where the student can only say `a`: the student is pulled to `a`."""
    objective = MinED()
    objective.setup(OURS, THEIRS)
    log_p = torch.full((1, THEIRS.vocab_size), -torch.inf)
    log_p[0, PIECES[1].index("aa")] = 0.0
    value = objective.divergence(log_p, torch.arange(OURS.vocab_size).float()[None].log_softmax(1))
    by_token = torch.arange(OURS.vocab_size).float().log_softmax(0)
    assert value.item() == pytest.approx(-by_token[PIECES[0].index("a")].item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_teacher_that_is_sure_of_what_goes_nowhere_says_nothing(dtype):
    """Not even a NaN: the probability of all that goes somewhere is zero to the last bit."""
    objective = MinED()
    objective.setup(OURS, THEIRS)
    log_p = torch.full((1, THEIRS.vocab_size), -1000.0, dtype=dtype)
    log_p[0, -1] = 0.0  # a row that the head has beyond its tokenizer
    log_q = torch.randn(1, OURS.vocab_size, dtype=dtype).log_softmax(1).requires_grad_()
    value = objective.divergence(log_p, log_q)
    value.sum().backward()
    assert value.item() == 0
    assert log_q.grad.abs().sum() == 0


def test_it_says_how_many_tokens_move():
    objective = MinED()
    objective.setup(OURS, THEIRS)
    shared = len(set(PIECES[0]) & set(PIECES[1]))
    assert objective.notes() == [
        f"{shared} of the teacher's 15 tokens are the student's byte for byte, "
        f"{13 - shared} go to the nearest one."
    ]


@pytest.mark.parametrize("unaligned", ["skip", "label"])
@pytest.mark.parametrize("positions", ["exact", "context", "dtw"])
@pytest.mark.parametrize("teacher", [TEACHER, OTHER_TEACHER], ids=lambda shape: shape.vocabulary)
def test_contract(positions, unaligned, teacher):
    check_objective(MinED(positions=positions, unaligned=unaligned), teacher=teacher)


def test_without_rapidfuzz_two_vocabularies_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfuzz.distance", None)
    MinED().setup(STUDENT, TEACHER)
    with pytest.raises(BadInput, match=r'vocabulary.mined .* pip install "stillroom\[edit\]"'):
        MinED().setup(STUDENT, OTHER_TEACHER)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must lie in"),
        ({"positions": "index"}, "positions must be one of exact, context, dtw"),
        ({"merge": "mean"}, "merge must be one of sum, one"),
        ({"unaligned": "drop"}, "unaligned must be one of skip, label"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(BadInput, match=message):
        MinED(**settings)
