"""Pictures of heads against whole maps by loops."""

from dataclasses import replace

import pytest
import torch
from objectives.attention.trials import trial
from reference.attention_map import attention_map
from reference.squeezed_kl import squeezed_kl

from stillroom import objectives
from stillroom.core.batch import Batch
from stillroom.core.signals import QueryKey, QueryKeys, Signals
from stillroom.diagnostics.head_maps import BEFORE, MOST_TOKENS, as_text, layer_picture, shown, spread

SqueezeHeads = objectives.find("attention.squeeze_heads")


def first_sample(batch, answers):
    """The first one has no padding."""

    def of(answer):
        if isinstance(answer, QueryKeys):
            return replace(answer, query=answer.query[:1], key=answer.key[:1])
        return answer[:1] if answer.dim() == 4 else answer

    return batch.rows(torch.tensor([0])), *(
        Signals({request: of(answer) for request, answer in own.items()}) for own in answers
    )


def numbers(rows):
    return [[int(number) for number in row.split()] for row in rows]


@pytest.mark.parametrize("window", [None, 3])
def test_maps_and_their_divergences(window):
    objective = SqueezeHeads(student_layers=[3])
    batch, ours, theirs = trial(objective)
    ((layer, partner),) = objective.pairs
    ours[QueryKey(layer)] = replace(ours[QueryKey(layer)], window=window, softcap=2.0)
    batch, student, teacher = first_sample(batch, (ours, theirs))
    (merge,) = objective.merges(teacher, batch)
    picture = layer_picture(merge, student, teacher, slice(2, 7))
    seen, shows = student[QueryKey(layer)], teacher[QueryKey(partner)]
    real = batch.student.attention_mask
    own = attention_map(seen.query, seen.key, real, seen.scaling, 2.0, window)[0]
    heads = attention_map(shows.query, shows.key, real, shows.scaling, None, window)[0]
    sums, *_ = squeezed_kl(
        *(each.tolist() for each in (seen.query, seen.key, shows.query, shows.key)),
        merge.mix.tolist(),
        [[1.0, 1.0]],
        groups=merge.groups,
        student_scaling=seen.scaling,
        teacher_scaling=shows.scaling,
        student_softcap=2.0,
        window=window,
        weights=[[1.0] * 9],
        key_mask=real.tolist(),
    )
    assert [head.partners for head in picture.heads] == merge.groups
    for head in picture.heads:
        merged = sum(
            merge.mix[0, head.head, a].double() * heads[each] for a, each in enumerate(head.partners)
        )
        for text, expected in (
            (head.student, own[head.head]),
            (head.merged, merged),
            *((each, heads[partner]) for each, partner in zip(head.teacher, head.partners, strict=True)),
        ):
            for row, (before, *rest) in zip(expected[2:7], numbers(text), strict=True):
                position = 2 + len(rest) - 1
                assert before == pytest.approx(1000 * float(row[:2].sum()), abs=0.51)
                assert rest == pytest.approx((1000 * row[2 : position + 1]).tolist(), abs=0.51)
        assert head.divergence == pytest.approx(sums[0][head.head] / 9, rel=1e-6)
        assert sum(head.shares) == pytest.approx(1, abs=1e-3)


def test_a_text_without_a_row_that_counts_has_no_divergence():
    objective = SqueezeHeads(student_layers=[3])
    batch, *answers = trial(objective)
    side = replace(batch.student, response_mask=torch.zeros_like(batch.student.response_mask))
    batch, student, teacher = first_sample(Batch(side, side, batch.sample_ids), answers)
    (merge,) = objective.merges(teacher, batch)
    assert all(head.divergence is None for head in layer_picture(merge, student, teacher, slice(0, 3)).heads)


def test_which_tokens_are_shown():
    trained = torch.zeros(100, dtype=torch.bool)
    assert shown(trained) == slice(0, MOST_TOKENS)
    trained[60:] = True
    assert shown(trained) == slice(60 - BEFORE, 60 - BEFORE + MOST_TOKENS)
    trained[:] = False
    trained[-1] = True
    assert shown(trained) == slice(100 - MOST_TOKENS, 100)
    assert shown(torch.tensor([False, True, True])) == slice(0, 3)


def test_which_layers_are_shown():
    assert spread([2, 5]) == [2, 5]
    assert spread(list(range(1, 13))) == [1, 7, 12]


def test_rows_of_text_hold_all_attention():
    attention = torch.tensor([[1.0, 0, 0], [0.25, 0.75, 0], [0.5, 0.125, 0.375]])
    assert as_text(attention, slice(1, 3)) == ["250 750", "500 125 375"]
    assert as_text(attention, slice(0, 2)) == ["0 1000", "0 250 750"]
