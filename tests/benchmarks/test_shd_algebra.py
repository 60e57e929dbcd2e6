"""The claims of the squeezing-heads paper: the formulas behind the verdicts, in exact arithmetic and known cases."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from reference import exact_compression as reference
from reference import squeeze_weights as by_definition

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from findings import Finding, page  # noqa: E402
from shd import exact, teachers  # noqa: E402
from shd.claims import alike, closed_form, compression, costs, rank, shares, tables, temperature  # noqa: E402
from shd.heads import Group, Heads, random_heads, softmax_maps  # noqa: E402


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


def shared_values(group: Group) -> Group:
    """Heads that read the same values, as grouped queries do: X of one is a multiple of the other's."""
    return Group(group.maps, torch.stack([group.written[0], -0.5 * group.written[0]]))


# --- heads --------------------------------------------------------------------------------------------------------


def test_maps_shares_and_errors_are_those_of_plain_loops(generator):
    heads = random_heads(3, 5, 2, generator)
    assert torch.equal(heads.maps, heads.maps.tril())
    maps, written = heads.maps.tolist(), heads.written.tolist()
    for method in ("optimal", "sequential", "printed", "constant"):
        found = heads.shares([[0, 1, 2]], method).mix[0]
        expected = by_definition.shares_of(maps, written, [1.0] * 5, method)
        assert found.tolist() == pytest.approx(expected, abs=1e-6)
    mix = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    merged = by_definition.times(
        by_definition.combined(mix.tolist(), maps), by_definition.combined([1.0] * 3, written)
    )
    target = by_definition.combined(
        [1.0] * 3, [by_definition.times(a, x) for a, x in zip(maps, written, strict=True)]
    )
    apart = by_definition.combined([1.0, -1.0], [merged, target])
    norms = [math.sqrt(by_definition.inner(each, each, [1.0] * 5)) for each in (apart, target)]
    group = heads.group([0, 1, 2])
    assert group.error(group.mixed(mix)) == pytest.approx(norms[0] / norms[1], rel=1e-12)


def test_a_narrow_group_keeps_its_inner_products(generator):
    heads = random_heads(4, 6, 2, generator)
    narrow, wide = heads.group([1, 3]), heads.written[[1, 3]].flatten(0, 1)
    assert narrow.written.shape[2] == 4
    assert wide.shape[1] == 16
    rows = narrow.written.flatten(0, 1)
    assert torch.allclose(rows @ rows.T, wide @ wide.T)


def test_correlated_heads_write_what_they_should(generator):
    first, second = random_heads(2, 400, 8, generator, correlation=-0.9).written.flatten(1)
    assert torch.corrcoef(torch.stack([first, second]))[0, 1].item() == pytest.approx(-0.9, abs=0.03)


# --- exact compressions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("change", [lambda group: group, shared_values])
def test_both_exact_compressions_are_those_of_exact_arithmetic(generator, width, change):
    group = change(random_heads(2, 5, width, generator).group([0, 1]))
    matrix, hull, size = reference.squared_errors(group.maps.tolist(), group.written.tolist())
    found = exact.constrained(group)
    assert exact.residual(group, is_causal=True) ** 2 == pytest.approx(matrix / size, rel=1e-9, abs=1e-14)
    assert group.error(found.merged) ** 2 == pytest.approx(hull / size, rel=1e-9, abs=1e-14)
    assert found.gap < 1e-12
    matrix = reference.squared_errors(group.maps.tolist(), group.written.tolist(), is_causal=False)[0]
    assert exact.residual(group) ** 2 == pytest.approx(matrix / size, rel=1e-9, abs=1e-14)
    assert exact.residual(group) == pytest.approx(group.error(exact.unconstrained(group)), abs=1e-9)


def test_the_hull_is_solved_where_the_answer_is_known():
    points = torch.tensor([[1.0, 1.0], [1.0, -1.0], [3.0, 0.0]], dtype=torch.float64).numpy()
    nearest, gap = exact.nearest_in_hull(points)
    assert nearest.tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert gap < 1e-12
    around, gap = exact.nearest_in_hull(points - [1.5, 0.0])
    assert (around @ (points - [1.5, 0.0])).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert gap < 1e-12


def test_the_best_map_is_a_map_and_better_than_any_mixture(generator):
    for _ in range(5):
        heads = random_heads(2, 12, 4, generator)
        group = heads.group([0, 1])
        merged = exact.constrained(group).merged
        assert merged.min() >= 0
        assert torch.equal(merged, merged.tril())
        assert torch.allclose(merged.sum(dim=1), torch.ones(12, dtype=torch.float64))
        mixture = group.error(group.mixed(heads.shares([[0, 1]], "optimal").mix[0]))
        by_row = group.error(compression.mixed_by_row(group))
        assert exact.residual(group, is_causal=True) <= group.error(merged) <= by_row <= mixture


def test_no_loss_only_with_enough_tokens_and_values_of_their_own(generator):
    enough, short = (random_heads(2, length, 4, generator).group([0, 1]) for length in (8, 7))
    assert exact.residual(enough) < 1e-12
    assert exact.residual(short) > 1e-3
    query, key = torch.randn(2, 2, 16, 4, dtype=torch.float64, generator=generator)
    value, out_proj = torch.randn(1, 16, 4).double(), torch.randn(2, 4, 16).double()
    grouped = Heads(query, key[:1], value, out_proj, 0.5).group([0, 1])
    assert exact.residual(grouped) > 1e-2


# --- the closed form and alpha ------------------------------------------------------------------------------------


def test_alpha_is_that_of_plain_loops_true_and_printed(generator):
    for _ in range(5):
        group = random_heads(2, 5, 2, generator).group([0, 1])
        parts = [each.tolist() for each in (*group.maps, *group.written)]
        target = group.target.tolist()
        for offset, printed in ((closed_form.true_offset, False), (closed_form.printed_offset, True)):
            expected = by_definition.pair(*parts, target, [1.0] * 5, printed)
            assert closed_form.alpha(group, offset(group)) == pytest.approx(expected, rel=1e-9)


def test_the_true_alpha_is_the_minimum_and_follows_a_swap_and_the_printed_one_does_neither(generator):
    group = random_heads(2, 9, 3, generator).group([0, 1])
    best = closed_form.alpha(group, closed_form.true_offset(group))
    tried = torch.linspace(-1, 2, 301, dtype=torch.float64)
    errors = [group.error(group.mixed(torch.stack([a, 1 - a]))) for a in tried]
    assert tried[errors.index(min(errors))].item() == pytest.approx(best, abs=0.01)
    other = closed_form.swapped(group)
    assert closed_form.alpha(other, closed_form.true_offset(other)) == pytest.approx(1 - best)
    printed = closed_form.alpha(group, closed_form.printed_offset(group))
    assert closed_form.alpha(other, closed_form.printed_offset(other)) == pytest.approx(printed)


def test_alpha_leaves_the_unit_interval_exactly_where_the_rule_says(generator):
    beyond = 0
    for _ in range(200):
        group = random_heads(2, 6, 2, generator, correlation=-0.95).group([0, 1])
        x, y = ((group.maps[0] - group.maps[1]) @ written for written in group.written)
        across, own, other = (float((a * b).sum()) for a, b in ((x, y), (x, x), (y, y)))
        found = closed_form.alpha(group, closed_form.true_offset(group))
        assert (found < 0, found > 1) == (across < -own, across < -other)
        beyond += not 0 <= found <= 1
    assert 0 < beyond < 200


def test_outside_counts():
    assert shares.outside([-0.1, 0.0, 1.0, 1.1]) == 0.5


# --- rank, the loss, cost -----------------------------------------------------------------------------------------


def test_directions_counts_singular_values():
    matrix = torch.diag(torch.tensor([10.0, 1.0, 0.1, 0.0], dtype=torch.float64))
    assert rank.directions(matrix, 0.99).item() == 1
    assert rank.directions(matrix, 0.999).item() == 2
    assert rank.directions(torch.eye(4, dtype=torch.float64)[None], 0.99).tolist() == [4]


def test_maps_have_more_ranks_than_their_scores(generator):
    found = rank.ranks("random", [random_heads(2, 24, 3, generator, sharpness=3.0, is_causal=False)])
    assert found["rank of scores, most"] == 3
    assert found["rank of maps, least"] == 24


def test_softening_needs_no_scores_and_does_not_commute_with_merging(generator):
    scores = 3 * torch.randn(2, 8, 8, dtype=torch.float64, generator=generator)
    maps = softmax_maps(scores)
    assert torch.allclose(temperature.softened(maps, 3.0), softmax_maps(scores / 3), atol=1e-14)
    assert temperature.between(maps, 1.0) == pytest.approx((0, 0), abs=1e-12)
    assert all(each > 1e-3 for each in temperature.between(maps, 3.0))


def test_zeros_of_half_precision_are_counted_where_a_query_sees_the_key():
    maps = torch.tensor([[[1.0, 0.0], [1e-9, 1.0 - 1e-9]]], dtype=torch.float64)
    found = temperature.zero_share(maps)
    assert found["entries"] == pytest.approx(1 / 3)
    assert found["rows with a zero"] == 0.5
    assert found["least, log10"] == pytest.approx(-9)


def test_operations_of_a_pair_of_heads():
    found = costs.operations(100, 10, 50)
    assert found["attention"] == 8 * 100**2 * 10
    assert found["with X of N x D"] > found["attention"]
    assert costs.operations(10_000, 10, 50)["with inner products"] / costs.operations(10_000, 10, 50)[
        "attention"
    ] == pytest.approx(0.5, abs=0.01)


def test_all_pairings_of_four_heads():
    assert alike.pairings([0, 1, 2, 3]) == [[(0, 1), (2, 3)], [(0, 2), (1, 3)], [(0, 3), (1, 2)]]


def test_what_the_text_says_about_table_5():
    assert tables.lead("MiniLLM") == [0.8, 0.6, 0.0, 0.7, 0.9]
    assert tables.lead("VkD")[2] == 0
    assert all(each <= 0 for each in tables.lead("SHD + head matching"))


@pytest.mark.slow
@pytest.mark.skipif(not teachers.DREAMS.is_dir(), reason="needs STILLROOM_DATA")
def test_a_trained_model_is_read_as_it_computes():
    teacher = teachers.dreams(2, 24)
    text = teacher.texts[1]
    with torch.no_grad():
        model = teachers.LlamaForCausalLM.from_pretrained(teachers.DREAMS, attn_implementation="eager").eval()
        outputs: list[torch.Tensor] = []
        for block in model.model.layers:
            block.self_attn.register_forward_hook(lambda module, args, output: outputs.append(output[0][0]))
        attentions = model(text[None], output_attentions=True).attentions
    read = teacher.read(text)
    assert list(read) == list(teacher.layers)
    for layer, heads in read.items():
        assert torch.allclose(heads.maps.float(), attentions[layer - 1][0], atol=1e-5)
        said = heads.group(range(teacher.heads)).target
        whole = (heads.maps @ heads.written).sum(dim=0)
        assert torch.allclose(whole.float(), outputs[layer - 1], atol=1e-4)
        assert torch.allclose(said @ said.T, whole @ whole.T)


# --- the page -----------------------------------------------------------------------------------------------------


def committed() -> dict:
    return json.loads((ROOT / "benchmarks" / "results" / "shd_algebra.json").read_text())["findings"]


def test_the_page_shows_every_finding_and_escapes_bars():
    finding = Finding("name", "|a|", "false", "b", {"table": [{"k|": 1.5, "none": None, "small": 1e-9}]})
    found = page({"Kind": [finding]})
    assert r"| name | \|a\| | b | false |" in found
    assert r"| k\| | none | small |" in found
    assert "| 1.5 | — | 1.0e-09 |" in found


def test_committed_results_hold_every_claim():
    found = [*tables.findings(), *costs.findings()]
    assert {each.name for each in found} <= set(committed())
    assert all(committed()[each.name]["sentence"] == each.sentence for each in found)


def test_the_page_of_the_paper_cites_every_finding():
    text = (ROOT / "docs" / "papers" / "squeezing_heads.md").read_text()
    assert [name for name in committed() if f"`{name}`" not in text] == []
