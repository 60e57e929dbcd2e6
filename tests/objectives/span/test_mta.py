"""MTA against plain loops; which texts count; what its settings mean."""

from dataclasses import replace

import pytest
import torch
from reference import span, trajectories

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Hidden, ReceivedAttention, Signals
from stillroom.objectives.span._units import units_of_batch
from stillroom.objectives.span.mta import MTA
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER, check_objective
from stillroom.testing._signals import random_answer

LAYERS = [(2, 3, "words"), (3, 5, "phrases"), (4, 6, "phrases")]
"""Of the student of 4 layers and the teacher of 6, where nothing is named."""

WORDS = [[-1, -1, 0, 0, 1, 2, 3, 3, 4, -1], [-1, 0, 1, 1, 2, -1, -1, -1, -1, -1], [-1, 0, 0, -1] + [-1] * 6]
PHRASES = [[-1, -1, 0, 0, 0, -1, 1, 1, 2, -1], [-1, 0, 0, 0, -1, -1, -1, -1, -1, -1], [-1] * 10]
OTHER_WORDS = [[-1, 0, 1, 1, 2, 3, 4, 4, -1], [-1, -1, -1, 0, 1, 2, 2, -1, -1], [-1, -1, 0, -1] + [-1] * 5]
OTHER_PHRASES = [[-1, 0, 0, 0, -1, 1, 2, 2, -1], [-1, -1, -1, 0, 0, -1, -1, -1, -1], [-1] * 9]


def side(words, phrases, prompts, lengths):
    """Responses that end with a token in no unit."""
    position = torch.arange(len(words[0]))
    real = position < torch.tensor(lengths)[:, None]
    response = real & (position >= torch.tensor(prompts)[:, None])
    return Side(
        torch.ones_like(real).long(), real.long(), response, None, torch.tensor(words), torch.tensor(phrases)
    )


def texts(teacher=TEACHER):
    """Three texts: with five words and three phrases, three and one, and one and none."""
    ours = side(WORDS, PHRASES, [2, 1, 1], [10, 6, 4])
    other = teacher.vocabulary != STUDENT.vocabulary
    theirs = side(OTHER_WORDS, OTHER_PHRASES, [1, 3, 2], [9, 8, 4]) if other else ours
    return Batch(ours, theirs, torch.arange(3))


def trial(objective, teacher=TEACHER, student=STUDENT):
    torch.manual_seed(0)
    reads = objective.setup(student, teacher)
    batch, generator = texts(teacher), torch.Generator().manual_seed(1)
    ours = {each: random_answer(each, student, batch.student, generator) for each in reads.student}
    theirs = {each: random_answer(each, teacher, batch.teacher, generator) for each in reads.teacher}
    return batch, ours, theirs


def compared(objective, batch, ours, theirs):
    return objective(Signals(ours), Signals(theirs), batch)


def members(ids):
    """Units of one text, each as the list of its tokens."""
    found = {}
    for token, unit in enumerate(ids.tolist()):
        if unit >= 0:
            found.setdefault(unit, []).append(token)
    return [found[unit] for unit in sorted(found)]


def state_of(answers, layer, depth):
    return answers[FinalHidden() if layer == depth else Hidden(layer)].double()


def weights_of(objective, answers, layer, states, one_side, row):
    """Weight of every trained token whose state is known, of one text."""
    kept = one_side.predicts[row] & one_side.response_mask[row]
    where = kept.nonzero().flatten().tolist()
    if objective.token_weights == "uniform":
        found = [1 / len(where)] * len(where)
    elif objective.token_weights == "attention":
        received = answers[ReceivedAttention(layer, "last")][row].double().sum(dim=0)[kept]
        found = (received / received.sum()).tolist()
    else:
        found = trajectories.centrality(states[row, kept].tolist())
    return dict(zip(where, found, strict=True))


def expected(objective, batch, ours, theirs, one_tokenizer=True):
    """Totals of all terms."""
    totals = dict.fromkeys(objective.terms, 0.0)
    layers = [kind for *_, kind in LAYERS]
    for number, (layer, partner, kind) in enumerate(LAYERS):
        states, goal = state_of(ours, layer, 4), state_of(theirs, partner, 6)
        units = units_of_batch(batch, kind)
        linear = objective.projections[number]
        matrix, bias = linear.weight.double().tolist(), linear.bias.double().tolist()
        for row in range(3):
            mine, other = members(units.student[row]), members(units.teacher[row])
            if not mine:
                continue
            own = weights_of(objective, ours, layer, states, batch.student, row)
            given = weights_of(objective, theirs, partner, goal, batch.teacher, row)
            if objective.pool_with == "teacher":
                own = given
            left = [span.center(states[row].tolist(), own, tokens) for tokens in mine]
            right = [span.center(goal[row].tolist(), given, tokens) for tokens in other]
            matter = given
            weights = [mass for _, mass in right]
            if objective.pair_weights == "uniform":
                matter, weights = dict.fromkeys(given, 1.0), [1.0] * len(other)
            if objective.pair_weights == "entropy":
                head = theirs[Head()].weight.double().tolist()
                last = theirs[FinalHidden()][row].double().tolist()
                matter = {t: trajectories.confidence(last[t], head) for t in given}
                weights = [sum(matter[t] for t in unit) / len(unit) for unit in other]
            vectors = [center for center, _ in left], [center for center, _ in right]
            totals[kind] += span.relational(*vectors, weights, objective.share) / layers.count(kind)
            if objective.hidden == "tokens" or (objective.hidden is None and one_tokenizer):
                at, to = [t for unit in mine for t in unit], [t for unit in other for t in unit]
                vectors = [states[row, t].tolist() for t in at], [goal[row, t].tolist() for t in to]
                weights = [matter[t] for t in to]
            distance = trajectories.distance(*vectors, weights, matrix, bias)
            totals[f"hidden_{kind}"] += distance / layers.count(kind)
    return totals


VARIANTS = [
    {},
    {"token_weights": "attention"},
    {"token_weights": "uniform", "share": "units"},
    {"pair_weights": "uniform"},
    {"pair_weights": "entropy"},
    {"hidden": "units", "share": "units"},
]


@pytest.mark.parametrize(
    ("settings", "teacher"),
    [
        *((each, TEACHER) for each in [*VARIANTS, {"pool_with": "teacher"}]),
        *((each, OTHER_TEACHER) for each in VARIANTS),
    ],
)
def test_values_are_those_of_the_loops(settings, teacher):
    objective = MTA(**settings)
    batch, ours, theirs = trial(objective, teacher)
    got = compared(objective, batch, ours, theirs)
    with torch.no_grad():
        wanted = expected(objective, batch, ours, theirs, one_tokenizer=teacher is TEACHER)
    assert {term: loss.total.item() for term, loss in got.items()} == pytest.approx(wanted, rel=1e-5)
    assert all(value > 0 for value in wanted.values())


def test_texts_count_where_they_have_units_and_weights_say_how_many_layers_there_are():
    objective = MTA()
    batch, ours, theirs = trial(objective)
    counts = {term: int(loss.count) for term, loss in compared(objective, batch, ours, theirs).items()}
    assert counts == {"words": 2, "phrases": 1, "hidden_words": 3, "hidden_phrases": 2}
    weights = objective.term_weights()
    assert weights == pytest.approx(
        {"words": 2 / 3, "phrases": 4 / 3, "hidden_words": 0.2 / 3, "hidden_phrases": 0.4 / 3}
    )


def test_a_text_without_phrases_does_not_dilute_those_with():
    objective = MTA()
    batch, ours, theirs = trial(objective)
    with_all = compared(objective, batch, ours, theirs)
    first = batch.rows(torch.tensor([0]))
    alone = compared(objective, first, *({k: v[:1] for k, v in each.items()} for each in (ours, theirs)))
    assert with_all["phrases"].mean().item() == pytest.approx(alone["phrases"].mean().item(), rel=1e-5)


def test_gradients_are_finite_where_texts_have_one_unit_or_none():
    objective = MTA()
    batch, ours, theirs = trial(objective)
    last = batch.rows(torch.tensor([2]))
    ours = {key: each[2:].requires_grad_() for key, each in ours.items()}
    losses = compared(objective, last, ours, {key: each[2:] for key, each in theirs.items()})
    sum(loss.total for loss in losses.values()).backward()
    assert losses["words"].total == 0
    assert losses["phrases"].total == 0
    assert losses["hidden_words"].total > 0
    assert all(each.grad is None or each.grad.isfinite().all() for each in ours.values())


def test_the_teacher_may_have_read_another_prompt():
    objective = MTA(pool_with="teacher")
    batch, ours, theirs = trial(objective)

    def behind(tensor):
        return torch.cat([tensor[:, :1], tensor], dim=1)

    longer = {key: behind(each) for key, each in theirs.items()}
    marks = (getattr(batch.student, name) for name in ("input_ids", "attention_mask", "response_mask"))
    words, phrases = (behind(each) for each in (batch.student.words, batch.student.phrases))
    moved = Batch(batch.student, Side(*map(behind, marks), None, words, phrases), batch.sample_ids)
    plain, shifted = compared(objective, batch, ours, theirs), compared(objective, moved, ours, longer)
    for term, loss in plain.items():
        assert shifted[term].total.item() == pytest.approx(loss.total.item(), rel=1e-5)


def test_a_teacher_with_another_response_is_named():
    objective = MTA()
    batch, ours, theirs = trial(objective)
    shorter = batch.student.response_mask.clone()
    shorter[1, 5] = False
    batch = replace(batch, teacher=replace(batch.student, response_mask=shorter))
    with pytest.raises(BadInput, match="sample 1 has 5 scored tokens for the student and 4"):
        compared(objective, batch, ours, theirs)


@pytest.mark.parametrize(
    ("deep", "settings", "layers"),
    [
        (12, {}, [(6, "words"), (9, "phrases"), (12, "phrases")]),
        (5, {}, [(3, "words"), (4, "phrases"), (5, "phrases")]),
        (2, {}, [(1, "words"), (2, "phrases")]),
        (1, {}, [(1, "words")]),
        (12, {"split": 0.75}, [(6, "words"), (9, "words"), (12, "phrases")]),
        (12, {"split": 1.0}, [(6, "words"), (9, "words"), (12, "words")]),
        (12, {"split": 0.0}, [(6, "phrases"), (9, "phrases"), (12, "phrases")]),
        (30, {"split": 0.1, "student_layers": [3, 4]}, [(3, "words"), (4, "phrases")]),
        (12, {"student_layers": [8, 4], "word_layers": [8]}, [(8, "words"), (4, "phrases")]),
        (12, {"word_layers": []}, [(6, "phrases"), (9, "phrases"), (12, "phrases")]),
    ],
)
def test_words_are_compared_in_low_layers(deep, settings, layers):
    objective = MTA(**settings)
    objective.setup(replace(STUDENT, num_layers=deep), replace(TEACHER, num_layers=2 * deep))
    assert [(each.student, each.kind) for each in objective.layers] == layers
    assert [each.teacher for each in objective.layers] == [2 * layer for layer, _ in layers]
    kinds = {kind for _, kind in layers}
    assert set(objective.terms) == kinds | {f"hidden_{kind}" for kind in kinds}
    assert kinds <= set(objective.units)
    assert sum(objective.term_weights().values()) == pytest.approx(2.2)


def test_only_what_is_compared_is_asked_for():
    reads = MTA().setup(STUDENT, TEACHER)
    assert reads.student == (Hidden(2), Hidden(3), FinalHidden())
    assert reads.teacher == (Hidden(3), Hidden(5), FinalHidden())
    reads = MTA(student_layers=[2], pair_weights="entropy").setup(STUDENT, TEACHER)
    assert reads.student == (Hidden(2),)
    assert reads.teacher == (Hidden(3), FinalHidden(), Head())
    reads = MTA(student_layers=[2], token_weights="attention").setup(STUDENT, TEACHER)
    assert reads.teacher == (Hidden(3), ReceivedAttention(3, "last"))
    assert MTA(split=1.0).units == ("words",)
    assert MTA(split=0.0).units == ("phrases",)
    assert MTA(split=1.0, words="in_phrases").units == ("words", "phrases")


def test_a_weight_of_zero_leaves_the_term_out():
    objective = MTA(hidden_weight=0)
    objective.setup(STUDENT, TEACHER)
    assert set(objective.terms) == {"words", "phrases"}
    assert not list(objective.parameters())
    objective = MTA(structure_weight=0)
    objective.setup(STUDENT, TEACHER)
    assert set(objective.terms) == {"hidden_words", "hidden_phrases"}
    assert [each.shape for each in objective.projections.parameters()] == [(12, 8), (12,)] * 3


def test_words_outside_of_phrases_can_be_left_out():
    objective = MTA(split=1.0, words="in_phrases")
    batch, ours, theirs = trial(objective)
    got = compared(objective, batch, ours, theirs)
    assert int(got["hidden_words"].count) == 2  # the third text has no phrase
    kept = torch.tensor(WORDS).masked_fill(torch.tensor(PHRASES) < 0, -1)
    again = replace(batch.student, words=kept)
    plain = MTA(split=1.0)
    plain.setup(STUDENT, TEACHER)
    plain.load_state_dict(objective.state_dict())
    wanted = compared(plain, Batch(again, again, batch.sample_ids), ours, theirs)
    assert got["words"].total.item() == wanted["words"].total.item()


def test_a_teacher_has_words_in_phrases_of_its_own():
    objective = MTA(split=1.0, words="in_phrases", hidden="units")
    batch, ours, theirs = trial(objective, OTHER_TEACHER)
    cut = batch.teacher.phrases.clone()
    cut[0, 1] = -1  # word 0, which lies in a phrase of the student's
    compared(objective, replace(batch, teacher=replace(batch.teacher, phrases=cut)), ours, theirs)
    found = objective.measures()["words_in_a_sequence"]
    compared(objective, batch, ours, theirs)
    assert found == pytest.approx(objective.measures()["words_in_a_sequence"] - 1 / 3)


def test_a_word_that_a_phrase_cuts_is_not_one_inside_of_phrases():
    objective = MTA(split=1.0, words="in_phrases")
    batch, ours, theirs = trial(objective)
    cut = batch.student.phrases.clone()
    cut[0, 6] = -1  # the first of two tokens of word 3
    side = replace(batch.student, phrases=cut)
    compared(objective, Batch(side, side, batch.sample_ids), ours, theirs)
    assert objective.measures()["words_in_a_sequence"] == pytest.approx((3 + 2) / 3)
    assert objective.measures()["tokens_in_words"] == pytest.approx((4 + 3) / 5)


def test_certainty_is_that_of_a_head_in_half_precision_too():
    objective = MTA(pair_weights="entropy")
    batch, ours, theirs = trial(objective)
    wanted = compared(objective, batch, ours, theirs)
    half = theirs | {Head(): HeadWeights(theirs[Head()].weight.bfloat16())}
    for term, loss in compared(objective, batch, ours, half).items():
        assert loss.total.item() == pytest.approx(wanted[term].total.item(), rel=2e-2)


def test_measures_tell_what_units_are_and_what_the_projection_learns_alone():
    objective = MTA()
    batch, ours, theirs = trial(objective)
    assert objective.measures() == {}
    compared(objective, batch, ours, theirs)
    found = objective.measures()
    assert found["words_in_a_sequence"] == pytest.approx(9 / 3)
    assert found["tokens_in_words"] == pytest.approx(13 / 9)
    assert found["phrases_in_a_sequence"] == pytest.approx(4 / 3)
    assert found["covered_by_phrases"] == pytest.approx(9 / 16)
    assert 0 < found["control_hidden_words"] < 2
    assert 0 < found["control_hidden_phrases"] < 2
    assert any("projections" in note for note in objective.notes())
    assert "words in 2 with 3" in objective.notes()[0]


def test_a_batch_without_a_phrase_has_no_mean_of_its_tokens():
    objective = MTA()
    batch, ours, theirs = trial(objective)
    last = batch.rows(torch.tensor([2]))
    losses = compared(objective, last, *({k: v[2:] for k, v in each.items()} for each in (ours, theirs)))
    assert losses["hidden_phrases"].total == 0
    assert int(losses["hidden_phrases"].count) == 0
    found = objective.measures()
    assert found["phrases_in_a_sequence"] == 0
    assert "tokens_in_phrases" not in found
    assert "control_hidden_phrases" not in found


def test_responses_of_one_token_and_states_of_zeros_are_finite():
    objective = MTA(hidden="units")
    batch, ours, theirs = trial(objective)
    one = torch.full_like(batch.student.words, -1)
    one[:, 2] = 0
    marks = torch.zeros_like(batch.student.response_mask)
    marks[:, 2:4] = True  # a token and the end
    short = replace(batch.student, response_mask=marks, words=one, phrases=one)
    ours = {key: each.clone() for key, each in ours.items()}
    for each in ours.values():
        each[1, 2] = 0
        each.requires_grad_()
    losses = compared(objective, Batch(short, short, batch.sample_ids), ours, theirs)
    assert {term: int(loss.count) for term, loss in losses.items()} == {
        "words": 0,
        "phrases": 0,
        "hidden_words": 3,
        "hidden_phrases": 3,
    }
    sum(loss.total for loss in losses.values()).backward()
    assert losses["words"].total == losses["phrases"].total == 0
    assert losses["hidden_words"].total > 0
    assert all(each.grad.isfinite().all() for each in ours.values())


@pytest.mark.parametrize("teacher", [TEACHER, OTHER_TEACHER], ids=["one tokenizer", "two"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hidden_weight": 0},
        {"structure_weight": 0},
        {"split": 1.0, "words": "in_phrases"},
        {"token_weights": "attention", "share": "units"},
        {"token_weights": "uniform", "pair_weights": "uniform"},
        {"pair_weights": "entropy"},
        {"hidden": "units"},
    ],
)
def test_the_contract_holds(settings, teacher):
    check_objective(MTA(**settings), teacher=teacher)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"student_layers": [0]}, "student_layers must be a list of layers"),
        ({"word_layers": 3}, "word_layers must be a list of layers"),
        ({"word_layers": [1]}, r"word_layers must be among .*\[2, 3, 4\], got \[1\]"),
        ({"student_layers": [5]}, r"student_layers must lie in \[1, 4\]"),
        ({"split": 1.5}, r"split must lie in \[0, 1\]"),
        ({"token_weights": "last"}, "token_weights must be one of"),
        ({"pool_with": "student"}, "pool_with must be one of"),
        ({"pair_weights": "none"}, "pair_weights must be one of"),
        ({"share": "batch"}, "share must be one of"),
        ({"words": "some"}, "words must be one of"),
        ({"hidden": "words"}, "hidden must be one of"),
        ({"structure_weight": -1}, r"structure_weight must lie in \[0, inf\)"),
        ({"structure_weight": 0, "hidden_weight": 0}, "nothing is compared: raise one"),
    ],
)
def test_bad_settings_are_refused(settings, says):
    with pytest.raises(BadInput, match=says):
        MTA(**settings).setup(STUDENT, TEACHER)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"hidden": "tokens"}, "hidden: tokens goes token by token .* set hidden: units"),
        ({"pool_with": "teacher"}, "pool_with: teacher goes token by token .* set pool_with: own"),
    ],
)
def test_what_needs_one_tokenizer_says_so(settings, says):
    with pytest.raises(BadInput, match=says):
        MTA(**settings).setup(STUDENT, OTHER_TEACHER)
    MTA(**settings).setup(STUDENT, TEACHER)


def test_attention_of_a_model_without_heads_is_refused():
    with pytest.raises(BadInput, match=r"the teacher \(mamba\) has none"):
        MTA(token_weights="attention").setup(STUDENT, replace(TEACHER, num_heads=0, model_type="mamba"))


def test_texts_that_nobody_cut_are_refused():
    objective = MTA()
    batch, ours, theirs = trial(objective)
    bare = replace(batch.student, words=None, phrases=None)
    with pytest.raises(BadInput, match=r"data\.spans"):
        compared(objective, Batch(bare, bare, batch.sample_ids), ours, theirs)
