"""Squeezing heads against plain loops, and the groups that it makes."""

from dataclasses import replace
from itertools import chain

import pytest
import torch
from objectives.attention.trials import leaves, losses, padded, trial, weights_of
from reference.map_objectives import neighbors
from reference.squeeze_weights import squeeze_weights
from reference.squeezed_kl import squeezed_kl

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.head_groups import HeadGroups, write_head_groups
from stillroom.core.signals import OutputProjection, QueryKey, Values
from stillroom.objectives.attention import _head_groups
from stillroom.testing import STUDENT, TEACHER, check_objective
from stillroom.testing._signals import random_batch

SqueezeHeads = objectives.find("attention.squeeze_heads")
NO_HEADS = replace(STUDENT, num_heads=0, num_key_value_heads=0, model_type="mamba")
ONE = {"student_layers": [4], "teacher_layers": [5]}


def shares(groups, theirs, layer, weights, real, merge):
    """Shares `[B][H][k]` by the loops."""
    if merge == "select":
        return [[[1.0]] * len(groups)] * len(weights)
    seen = theirs[QueryKey(layer)]
    if merge == "constant":
        return [[[1 / len(group)] * len(group) for group in groups]] * len(weights)
    found = squeeze_weights(
        seen.query.tolist(),
        seen.key.tolist(),
        theirs[Values(layer)].tolist(),
        theirs[OutputProjection(layer)].tolist(),
        weights,
        groups=groups,
        methods=[merge],
        mask=real,
        scaling=seen.scaling,
        window=None,
        is_causal=True,
        softcap=None,
    )
    return found[merge]


def by_loops(objective, batch, ours, theirs):
    """The loss and its gradient at the queries of every student layer."""
    weights = weights_of(batch, objective.rows)
    real = batch.student.attention_mask.tolist()
    total, gradients = 0.0, {}
    for (layer, partner), groups in zip(objective.pairs, objective.merged, strict=True):
        seen, shown = ours[QueryKey(layer)], theirs[QueryKey(partner)]
        heads = len(groups)
        slope = 1 / heads / len(objective.pairs)
        values, d_query, _ = squeezed_kl(
            *(each.tolist() for each in (seen.query, seen.key, shown.query, shown.key)),
            shares(groups, theirs, partner, weights, real, objective.merge),
            [[slope] * heads] * len(real),
            groups=groups,
            student_scaling=seen.scaling,
            teacher_scaling=shown.scaling,
            weights=weights,
            key_mask=real,
            temperature=objective.attention_temperature,
            divergence=objective.divergence,
        )
        total += slope * sum(map(sum, values))
        gradients[layer] = torch.tensor(d_query, dtype=torch.float64)
    return total, gradients


@pytest.mark.parametrize(
    "settings",
    [
        {"student_layers": [2, 4]},
        {**ONE, "merge": "sequential"},
        {**ONE, "merge": "constant", "divergence": "mse"},
        {**ONE, "merge": "select", "seed": 3},
        {**ONE, "merge": "printed"},
        {**ONE, "rows": "response", "attention_temperature": 2.0},
        {**ONE, "grouping": "matched", "groups": [[[3], [0, 2]]]},
    ],
    ids=str,
)
def test_value_and_gradient_are_those_of_the_loops(settings):
    objective = SqueezeHeads(**settings)
    batch, ours, theirs = trial(objective)
    ours = leaves(ours)
    loss = losses(objective, batch, ours, theirs)["map"]
    loss.total.backward()
    expected, gradients = by_loops(objective, batch, ours, theirs)
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert int(loss.count) == sum(map(sum, weights_of(batch, objective.rows)))
    for layer, gradient in gradients.items():
        assert torch.allclose(ours[QueryKey(layer)].query.grad, gradient, atol=1e-7)


@pytest.mark.parametrize("merge", ["optimal", "sequential", "constant", "select", "printed"])
def test_the_contract_holds(merge):
    check_objective(SqueezeHeads(merge=merge))
    check_objective(SqueezeHeads(merge=merge, rows="response", divergence="mse", attention_temperature=2.0))
    check_objective(SqueezeHeads(merge=merge), student=replace(STUDENT, num_heads=3, num_key_value_heads=3))


@pytest.mark.parametrize(("heads", "wanted"), [(25, 16), (25, 20), (25, 12), (40, 32), (16, 16), (7, 1)])
def test_neighbors_are_merged_larger_groups_first(heads, wanted):
    assert _head_groups.neighbors(heads, wanted) == neighbors(heads, wanted)


def test_the_papers_25_heads_to_16_are_nine_pairs_and_seven_alone():
    groups = _head_groups.neighbors(25, 16)
    assert groups[:2] == [[0, 1], [2, 3]]
    assert groups[8:10] == [[16, 17], [18]]
    assert groups[-1] == [24]


def test_chance_keeps_the_sizes_uses_every_head_and_repeats_itself():
    groups = _head_groups.at_random(25, 16, 0, 3)
    assert sorted(chain(*groups)) == list(range(25))
    assert sorted(map(len, groups)) == [1] * 7 + [2] * 9
    assert groups == _head_groups.at_random(25, 16, 0, 3)
    assert groups != _head_groups.at_random(25, 16, 1, 3)
    assert groups != _head_groups.at_random(25, 16, 0, 4)
    chosen = list(chain(*_head_groups.selected(25, 16, 0, 3)))
    assert len(chosen) == 16
    assert chosen == sorted(set(chosen))


def test_only_what_is_needed_is_read():
    reads = SqueezeHeads(**ONE).setup(STUDENT, TEACHER)
    assert reads.student == (QueryKey(4),)
    assert reads.teacher == (QueryKey(5), Values(5), OutputProjection(5))
    for objective, teacher in (
        (SqueezeHeads(**ONE, merge="constant"), TEACHER),
        (SqueezeHeads(**ONE, merge="select"), TEACHER),
        (SqueezeHeads(**ONE), replace(TEACHER, num_heads=2)),
    ):
        assert objective.setup(STUDENT, teacher).teacher == (QueryKey(5),)


def test_a_student_that_looks_where_twins_look_has_nothing_to_learn():
    """Merged heads with one and the same map are that map, with any shares."""
    objective = SqueezeHeads(**ONE)
    batch, ours, theirs = trial(objective, replace(STUDENT, num_key_value_heads=2))
    seen = ours[QueryKey(4)]
    twins = replace(seen, query=seen.query.repeat_interleave(2, 1), key=seen.key.repeat_interleave(2, 1))
    theirs[QueryKey(5)] = twins
    theirs[Values(5)] = torch.randn_like(twins.key)
    theirs[OutputProjection(5)] = torch.randn(4, twins.key.shape[-1], 12, dtype=torch.float64)
    assert losses(objective, batch, ours, theirs)["map"].total.item() == pytest.approx(0.0, abs=1e-9)


def test_padding_on_either_side_and_its_amount_change_nothing():
    objective = SqueezeHeads(**ONE)
    batch, *answers = trial(objective)
    expected = losses(objective, batch, *answers)["map"]
    for left, right in ((3, 0), (0, 2), (2, 5)):
        got = losses(objective, *padded(batch, answers, left, right))["map"]
        assert got.total.item() == pytest.approx(expected.total.item(), rel=1e-6)
        assert int(got.count) == int(expected.count)


def test_maps_are_compared_over_keys_that_both_models_see():
    objective = SqueezeHeads(**ONE, merge="constant")
    batch, ours, theirs = trial(objective)

    def total(window, teacher_window):
        near = {QueryKey(4): replace(ours[QueryKey(4)], window=window)}
        return losses(
            objective, batch, near, {QueryKey(5): replace(theirs[QueryKey(5)], window=teacher_window)}
        )["map"].total.item()

    assert total(3, None) == total(None, 3) == total(3, 5) == total(3, 3) != total(None, None)


def test_shares_are_measured_while_training_and_only_where_heads_are_merged():
    objective = SqueezeHeads(**ONE)
    batch, ours, theirs = trial(objective)
    assert objective.eval().measures() == {}
    losses(objective, batch, ours, theirs)
    assert objective.measures() == {}
    losses(objective.train(), batch, ours, theirs)
    weights, real = weights_of(batch, "real"), batch.student.attention_mask.tolist()
    found = shares(objective.merged[0], theirs, 5, weights, real, "optimal")
    firsts = [group[0] for sample in found for group in sample]
    measures = objective.measures()
    assert measures["alpha/4"] == pytest.approx(sum(firsts) / len(firsts), rel=1e-5)
    assert measures["clamped"] == pytest.approx(sum(x in (0, 1) for x in firsts) / len(firsts))
    constant = SqueezeHeads(**ONE, merge="constant")
    losses(constant, *trial(constant))
    assert constant.measures() == {}


def test_another_projection_is_noticed():
    objective = SqueezeHeads(**ONE)
    batch, ours, theirs = trial(objective)
    before = losses(objective, batch, ours, theirs)["map"].total.item()
    slices = theirs[OutputProjection(5)]
    other = {**theirs, OutputProjection(5): torch.stack([slices[0], 0 * slices[1], *slices[2:]])}
    assert losses(objective, batch, ours, other)["map"].total.item() != pytest.approx(before)
    assert losses(objective, batch, ours, theirs)["map"].total.item() == before


def test_groups_are_read_from_the_file_of_match_heads(tmp_path):
    path = tmp_path / "head_groups.json"
    groups = {5: [[0, 3], [1, 2]], 6: [[0], [1, 2, 3]]}
    write_head_groups(path, HeadGroups("teacher", "abc", "", 4, 2, "real", 1, groups, {}))
    objective = SqueezeHeads(
        student_layers=[4, 1], teacher_layers=[6, 5], grouping="matched", groups=str(path)
    )
    objective.setup(STUDENT, TEACHER)
    assert objective.merged == [groups[6], groups[5]]
    assert objective.measured_on() == {str(path): "abc"}
    assert objective.files() == [str(path)]
    other = replace(STUDENT, num_heads=3)
    with pytest.raises(
        BadInput, match=rf"{path}: expected groups of 4 teacher heads for 3.*written for 4 and 2"
    ):
        SqueezeHeads(student_layers=[4], grouping="matched", groups=str(path)).setup(other, TEACHER)
    with pytest.raises(BadInput, match="expected groups for teacher layer 2"):
        SqueezeHeads(grouping="matched", groups=str(path)).setup(STUDENT, TEACHER)
    assert SqueezeHeads(**ONE).measured_on() == {}
    assert SqueezeHeads(**ONE).files() == []
    with pytest.raises(BadInput, match="there is no file"):
        SqueezeHeads(grouping="matched", groups="nowhere.json").setup(STUDENT, TEACHER)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"student_layers": [0]}, "student_layers must be a list of layers counted from 1"),
        ({"student_layers": [5]}, r"student_layers must lie in \[1, 4\].*got 5"),
        ({"teacher_layers": [1]}, "one partner for each of the student's 4 layers"),
        ({"rows": "all"}, "rows must be one of real, response"),
        ({"merge": "best"}, "merge must be one of optimal"),
        ({"grouping": "near"}, "grouping must be one of contiguous"),
        ({"divergence": "js"}, "divergence must be one of kl, mse"),
        ({"attention_temperature": 0.0}, "attention_temperature must lie in"),
        ({"grouping": "matched"}, "grouping: matched and groups belong together.*groups: None"),
        ({"groups": [[[0], [1]]]}, "grouping: matched and groups belong together.*contiguous"),
        ({"merge": "select", "grouping": "random"}, "merge: select.*leave out grouping"),
        ({"grouping": "matched", "groups": [[0, 1]]}, "groups must hold, for each pair of layers"),
        ({"grouping": "matched", "groups": [[[0], [1]]]}, "for each of the 4 pairs of layers, got 1"),
        ({**ONE, "grouping": "matched", "groups": [[[0], [4]]]}, "heads 0 to 3, none of them twice"),
        ({**ONE, "grouping": "matched", "groups": [[[0, 1], [1]]]}, "heads 0 to 3, none of them twice"),
        ({**ONE, "grouping": "matched", "groups": [[[0, 1]]]}, "the student's 2 heads"),
    ],
)
def test_bad_settings_are_refused(settings, says):
    with pytest.raises(BadInput, match=says):
        SqueezeHeads(**settings).setup(STUDENT, TEACHER)


def test_pairs_of_models_that_cannot_be_compared_are_refused():
    with pytest.raises(BadInput, match=r"student has 5 and the teacher 4: choose attention\.relations"):
        SqueezeHeads().setup(replace(STUDENT, num_heads=5), TEACHER)
    for role, pair in (("student", (NO_HEADS, TEACHER)), ("teacher", (STUDENT, NO_HEADS))):
        with pytest.raises(BadInput, match=rf"compares attention, and the {role} \(mamba\) has none"):
            SqueezeHeads().setup(*pair)
    with pytest.raises(BadInput, match="needs one tokenizer"):
        SqueezeHeads().setup(STUDENT, replace(TEACHER, vocabulary="syllables"))
    with pytest.raises(BadInput, match="at most 8 heads to one, here are 9: use merge: sequential"):
        SqueezeHeads().setup(replace(STUDENT, num_heads=1), replace(TEACHER, num_heads=9))


def test_models_that_read_different_tokens_are_refused():
    objective = SqueezeHeads(**ONE)
    batch, ours, theirs = trial(objective)
    other = replace(batch.teacher, input_ids=batch.teacher.input_ids + 1)
    with pytest.raises(BadInput, match="student and teacher read different tokens"):
        losses(objective, replace(batch, teacher=other), ours, theirs)


def test_what_is_not_merged_or_not_minimized_is_said():
    for settings, teacher, says in (
        ({}, replace(TEACHER, num_heads=2), "No heads are merged"),
        ({"merge": "printed"}, TEACHER, "does not minimize"),
        ({}, TEACHER, ""),
    ):
        objective = SqueezeHeads(**settings)
        objective.setup(STUDENT, teacher)
        assert len(objective.notes()) == bool(says)
        assert says in "".join(objective.notes())


def test_live_models_of_different_heads_and_depth():
    from tiny import tiny_llama
    from transformers import LlamaForCausalLM

    from stillroom.taps.capture import capture
    from stillroom.taps.prepare import prepare
    from stillroom.taps.shape import model_shape
    from stillroom.teachers.live import LiveTeacher

    teacher = tiny_llama(1, layers=3)
    config = tiny_llama(0).config
    config.num_attention_heads = config.num_key_value_heads = 2
    student = LlamaForCausalLM(config)
    objective = SqueezeHeads()
    reads = objective.setup(model_shape(student, None, "tiny"), model_shape(teacher, None, "tiny"))
    prepare(student, reads.student)
    live = LiveTeacher(teacher, vocabulary="tiny")
    live.prepare(reads.teacher)
    batch = random_batch(STUDENT, STUDENT, torch.Generator().manual_seed(0))
    for _ in range(2):
        answers = live.answer(batch, reads.teacher)
        found = objective(capture(student, batch.student, reads.student), answers, batch)["map"]
    found.total.backward()
    got = {name for name, each in student.named_parameters() if each.grad is not None and each.grad.any()}
    assert {"model.layers.0.self_attn.v_proj.weight", "model.layers.1.self_attn.k_proj.weight"} <= got
    assert not {"model.layers.1.self_attn.v_proj.weight", "lm_head.weight"} & got
    # each projection is narrowed once
    narrow = objective._narrowed(0, answers[OutputProjection(2)])
    assert narrow is objective._narrowed(0, live.answer(batch, reads.teacher)[OutputProjection(2)])
