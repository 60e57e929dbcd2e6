"""Self-attention relations against plain loops, and into how many relation heads they are cut."""

from dataclasses import replace

import pytest
import torch
from objectives.attention.trials import EQUAL, leaves, losses, padded, trial, weights_of
from reference.map_objectives import relation_heads
from reference.squeezed_kl import squeezed_kl

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.signals import QueryKey, Values
from stillroom.testing import STUDENT, TEACHER, check_objective

Relations = objectives.find("attention.relations")
MINILM = {"relations": ["attention", "value"], "alpha": [1, 1]}


def states(name, answers, layer):
    """`[B][G][S][d]`"""
    if name == "value":
        return answers[Values(layer)].tolist()
    seen = answers[QueryKey(layer)]
    return (seen.query if name == "query" else seen.key).tolist()


def compared(ours, theirs, batch, objective):
    """KL of maps that queries and keys `[B][A][S][w]` make, mean over heads; and its gradients."""
    (query, key, scaling), (other_query, other_key, other_scaling) = ours, theirs
    heads = len(query[0])
    values, d_query, d_key = squeezed_kl(
        query,
        key,
        other_query,
        other_key,
        [[[1.0]] * heads] * len(query),
        [[1 / heads] * heads] * len(query),
        groups=[[head] for head in range(heads)],
        student_scaling=scaling,
        teacher_scaling=other_scaling,
        weights=weights_of(batch, objective.rows),
        key_mask=batch.student.attention_mask.tolist(),
    )
    return sum(map(sum, values)) / heads, *(
        torch.tensor(each, dtype=torch.float64) for each in (d_query, d_key)
    )


def relation(name, ours, theirs, batch, objective, pair, heads):
    sides = []
    for answers, layer in ((ours, pair[0]), (theirs, pair[1])):
        cut = [relation_heads(sample, heads) for sample in states(name, answers, layer)]
        sides.append((cut, cut, len(cut[0][0][0]) ** -0.5))
    return compared(*sides, batch, objective)


def whole_attention(ours, theirs, batch, objective, pair):
    seen, shown = ours[QueryKey(pair[0])], theirs[QueryKey(pair[1])]
    return compared(
        *((each.query.tolist(), each.key.tolist(), each.scaling) for each in (seen, shown)), batch, objective
    )


@pytest.mark.parametrize(
    ("settings", "student", "expected_heads"),
    [
        ({}, STUDENT, {"query": 2, "key": 1, "value": 1}),
        ({"relation_heads": 4, "rows": "response"}, STUDENT, {"query": 4, "key": 4, "value": 4}),
        ({"relations": ["key"], "student_layers": [2, 4]}, replace(STUDENT, head_dim=6), {"key": 1}),
        (
            {"teacher_layers": [4]},
            replace(STUDENT, num_heads=3, num_key_value_heads=3),
            {"query": 3, "key": 3, "value": 3},
        ),
    ],
    ids=str,
)
def test_relations_are_those_of_the_loops(settings, student, expected_heads):
    objective = Relations(**settings)
    batch, ours, theirs = trial(objective, student)
    assert objective.heads == expected_heads
    found = losses(objective, batch, ours, theirs)
    assert found.keys() == expected_heads.keys()
    for name, heads in expected_heads.items():
        expected = [
            relation(name, ours, theirs, batch, objective, pair, heads)[0] for pair in objective.pairs
        ]
        assert found[name].total.item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)
        assert int(found[name].count) == sum(map(sum, weights_of(batch, objective.rows)))


def test_minilm_compares_maps_head_by_head_and_values():
    objective = Relations(**MINILM)
    batch, ours, theirs = trial(objective, teacher=EQUAL)
    assert objective.pairs == [(4, 6)]
    assert objective.term_weights() == {"attention": 1, "value": 1}
    found = losses(objective, batch, ours, theirs)
    expected = whole_attention(ours, theirs, batch, objective, (4, 6))[0]
    assert found["attention"].total.item() == pytest.approx(expected, rel=1e-5)
    values = relation("value", ours, theirs, batch, objective, (4, 6), 1)[0]
    assert found["value"].total.item() == pytest.approx(values, rel=1e-5)


def test_a_state_gets_gradient_as_query_and_as_key():
    objective = Relations(relations=["query"])
    batch, ours, theirs = trial(objective)
    ours = leaves(ours)
    losses(objective, batch, ours, theirs)["query"].total.backward()
    _, d_query, d_key = relation("query", ours, theirs, batch, objective, (4, 6), 2)
    # two relation heads of a student with two heads: the cut is the one that was there
    assert torch.allclose(ours[QueryKey(4)].query.grad, d_query + d_key, atol=1e-7)
    assert ours[QueryKey(4)].key.grad is None


@pytest.mark.parametrize(
    "settings", [{}, {"relation_heads": 2}, {"rows": "response"}, {"relations": ["value"]}]
)
def test_the_contract_holds(settings):
    check_objective(Relations(**settings), student=replace(STUDENT, num_key_value_heads=2))


def test_the_contract_holds_for_minilm():
    check_objective(Relations(**MINILM), teacher=EQUAL)


def test_relations_have_one_weight_unless_alpha_says_more():
    weights = Relations().term_weights()
    assert weights == pytest.approx({"query": 1 / 3, "key": 1 / 3, "value": 1 / 3})
    assert Relations(relations=["value", "key"], alpha=[2, 0.5]).term_weights() == {"value": 2, "key": 0.5}


def test_only_what_is_needed_is_read():
    assert Relations(relations=["value"]).setup(STUDENT, TEACHER).student == (Values(4),)
    assert Relations(relations=["query"]).setup(STUDENT, TEACHER).teacher == (QueryKey(6),)
    assert Relations().setup(STUDENT, TEACHER).teacher == (QueryKey(6), Values(6))
    assert Relations(teacher_layers=[5]).setup(STUDENT, TEACHER).teacher == (QueryKey(5), Values(5))


def test_padding_on_either_side_and_its_amount_change_nothing():
    objective = Relations()
    batch, *answers = trial(objective)
    expected = losses(objective, batch, *answers)
    for left, right in ((3, 0), (2, 5)):
        got = losses(objective, *padded(batch, answers, left, right))
        for term, loss in expected.items():
            assert got[term].total.item() == pytest.approx(loss.total.item(), rel=1e-6)


def test_values_of_another_width_than_the_keys_are_cut_too_or_refused():
    objective = Relations(relations=["value"], relation_heads=4)
    batch, ours, theirs = trial(objective)
    wide = {Values(4): ours[Values(4)].repeat(1, 1, 1, 2)}
    assert losses(objective, batch, wide, theirs)["value"].total.isfinite()
    odd = {Values(4): ours[Values(4)][..., :3]}
    with pytest.raises(BadInput, match="divides into 4 relation heads, got 3"):
        losses(objective, batch, odd, theirs)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"relations": []}, "relations must name one or more of query, key, value, attention"),
        ({"relations": ["values"]}, r"relations must name.*got \['values'\]"),
        ({"relations": ["key", "key"]}, "relations must name"),
        ({"alpha": [1, 1]}, "alpha must have a weight for each of query, key, value"),
        ({"alpha": [1, 1, -1]}, "alpha of value must lie in"),
        ({"relation_heads": 0}, "relation_heads must lie in"),
        ({"relation_heads": 3}, "relation_heads must divide the query width of both models, 8 and 24, got 3"),
        ({"relation_heads": 8}, "the key width of both models, 4 and 12, got 8: choose a divisor of 4"),
        ({"relations": ["attention"]}, "student has 2 and the teacher 4: leave attention out of relations"),
        ({"alpha": [0, 0, 0]}, r"alpha must have a weight above 0, got \[0, 0, 0\]"),
        ({"student_layers": [5]}, r"student_layers must lie in \[1, 4\]"),
        ({"teacher_layers": [5, 6]}, "one partner for each of the student's 1 layers"),
    ],
)
def test_bad_settings_are_refused(settings, says):
    with pytest.raises(BadInput, match=says):
        Relations(**settings).setup(STUDENT, TEACHER)
