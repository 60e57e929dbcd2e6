"""Every recipe, experiment and search in `papers/` is valid at every scale, and its figures are the paper's."""

import re
from pathlib import Path

import pytest
import yaml

from stillroom.compare.plan import read_plan, resolve
from stillroom.core.errors import BadInput
from stillroom.objectives import find
from stillroom.recipe import strict_yaml
from stillroom.recipe.load import load_recipe
from stillroom.reproduce.catalog import catalog
from stillroom.reproduce.experiment import SCALES, read_experiment
from stillroom.search.space import read_space
from stillroom.search.trials import check, trial_run

ROOT = Path(__file__).parents[2]
ENTRIES = {entry.name: entry for entry in catalog()}
BASES = {
    *(f"{paper}/small" for paper in ("sharp", "shd", "dskd", "dwa_kd", "sra", "mta")),
    "mta/small_fdd",
}
"""Recipes with ${assets}, which only a comparison fills in."""
MODELS = (
    "pair/student",
    "pair/second-teacher",
    *(f"{name}-dolly/student" for name in ("qwen", "mistral", "llama2", "qwen7b", "qwen7b-base")),
)
TEXTS = ("math_train.jsonl", "math_dev.jsonl", "code_train.jsonl", "code_dev.jsonl")
"""What the reader makes first, with the commands in the comment of a recipe."""


@pytest.fixture(autouse=True)
def readers_folder(tmp_path, monkeypatch):
    """Where the commands of the comments were given: models and texts of one's own lie there."""
    folder = tmp_path / "reader"
    for name in MODELS:
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").touch()
    for name in TEXTS:
        (folder / name).touch()
    monkeypatch.chdir(folder)


def named(kind):
    return [name for name, entry in ENTRIES.items() if entry.kind == kind]


def scales(name):
    """Those that the experiment has."""
    values = ENTRIES[name].path.read_text()
    return ["paper"] if "\nbase: null\n" in values else list(SCALES)


def plan_of(name, scale, folder):
    path = folder / "comparison.yaml"
    path.write_text(strict_yaml.dump(read_experiment(ENTRIES[name].path, scale).comparison))
    return read_plan(path)


def made(recipe):
    """The objectives of a recipe: settings that contradict each other are refused by the classes themselves."""
    return [find(choice.use)(**choice.settings) for choice in recipe.objectives]


@pytest.mark.parametrize("name", [name for name in named("recipe") if name not in BASES])
def test_a_recipe_is_valid(name):
    recipe = load_recipe(ENTRIES[name].path)
    made(recipe)
    assert recipe.data.train_split != recipe.data.eval_split


@pytest.mark.parametrize("name", named("experiment"))
def test_every_variant_is_valid_and_differs_from_what_it_is_held_against(name, tmp_path):
    assert "paper" in scales(name)
    for scale in scales(name):
        plan = plan_of(name, scale, tmp_path)
        assert len(plan.seeds) >= (2 if scale == "tiny" else 3), "differences are judged over seeds"
        assert len(plan.rates) != 1
        assert plan.test is None or scale == "paper"
        against = resolve(plan, plan.against, 10, tmp_path, {}, [])
        for variant in plan.variants:
            resolve(plan, variant, 10, tmp_path, plan.trial, [])
            recipe = resolve(plan, variant, 10, tmp_path, {}, [])
            made(recipe)
            assert recipe.data.eval is not None
            parts = {"objectives", "training", "teacher", "data"}
            same = recipe.model_dump(include=parts) == against.model_dump(include=parts)
            assert same == (variant == plan.against)


@pytest.mark.parametrize("name", named("experiment"))
def test_tiny_and_small_say_what_they_take_and_tiny_is_minutes(name):
    sizes = [scale for scale in scales(name) if scale != "paper"]
    assert sorted(ENTRIES[name].minutes) == sorted(sizes)
    assert ENTRIES[name].minutes.get("tiny", 0) <= 6


@pytest.mark.parametrize("name", named("search"))
def test_every_search_is_valid_at_its_ends_and_its_hardest_point(name, tmp_path):
    space = read_space(ENTRIES[name].path)
    check(space, tmp_path, [])
    largest = {key: each.ends()[-1] for key, each in space.space.items()}
    made(trial_run(space, 0, largest, tmp_path, []).recipe)


@pytest.mark.parametrize("name", [*ENTRIES])
def test_the_comment_says_machine_and_command(name):
    lines = ENTRIES[name].path.read_text().splitlines()
    top = "\n".join(line for line in lines if line.startswith("#"))
    assert lines[0].startswith("# ")
    assert "Machine:" in top
    assert name in BASES or f"stillroom reproduce {name}" in top or f"stillroom search {name}" in top


def test_the_ablations_are_those_of_the_paper(tmp_path):
    def settings(name, variant, scale="small"):
        recipe = resolve(plan_of(f"sharp/{name}", scale, tmp_path), variant, 10, tmp_path, {}, [])
        return next(choice.settings for choice in recipe.objectives if choice.use == "attention.sharp")

    assert settings("table6", "without head")["granularities"] == ["token", "layer"]
    assert settings("table6", "single rank space", "paper")["rank_space"] == "shared"
    assert settings("table7", "d = 768")["rank_size"] == 768
    assert settings("table8", "Gram-Schmidt")["orthogonality"] == "penalty"
    assert settings("table8", "paper mode")["mode"] == "paper"
    assert settings("table4", "SHARP", "paper")["num_ranks"] == 3


def test_a_file_that_is_like_another_changes_what_it_says_and_nothing_else(tmp_path):
    one, other = (plan_of(f"sharp/{name}", "paper", tmp_path) for name in ("table1", "table1_opt_6.7b"))
    assert other.variants == one.variants
    assert (other.rates, other.trial, other.test) == (one.rates, one.trial, one.test)
    teacher = resolve(other, "SHARP", 10, tmp_path, {}, []).teacher
    assert teacher is not None
    assert teacher.model == "facebook/opt-6.7b"
    student = resolve(plan_of("sharp/table5_3b", "paper", tmp_path), "SHARP", 10, tmp_path, {}, []).student
    assert student.model == "Qwen/Qwen2.5-Coder-3B"


def test_the_order_of_objectives_is_one_for_all_bases():
    """Dotted keys of variants (objectives.0.rank_size) count on it."""
    for name in ("small", "opt", "llama", "deepseek", "qwen_coder"):
        uses = [each["use"] for each in strict_yaml.read(ENTRIES[f"sharp/{name}"].path).values["objectives"]]
        assert uses == ["attention.sharp", "hard.cross_entropy", "logits.forward_kl"], name


def printed(name):
    return read_experiment(ENTRIES[name].path, "paper").published.rows


def test_table_1_averages_are_printed_beside_the_data_sets_they_come_from():
    """The paper's own rows: most averages follow from Table 9, and its slips are kept as they are printed."""
    nlg = ("DollyEval", "VicunaEval", "SelfInst", "Koala", "WizardLM")
    follows = 0
    for name in ("sharp/table1", "sharp/table1_opt_1.3b", "sharp/table1_opt_2.7b", "sharp/table1_opt_6.7b"):
        rows = printed(name)
        assert len(rows) == 7
        for row in rows.values():
            assert len(row) == 10
            follows += abs(sum(row[each] for each in nlg) / 5 - row["NLG (Table 1)"]) < 0.5
    assert follows == 22
    assert printed("sharp/table1")["SHARP"]["NLG (Table 1)"] == 48.35


def test_published_differences_are_those_that_the_text_speaks_of():
    six, wide = printed("sharp/table6"), printed("sharp/table6_opt_1.3b")
    drop = six["SHARP"]["MMLU, %"] - six["single rank space"]["MMLU, %"]
    assert drop == pytest.approx(1.86)
    assert wide["SHARP"]["MMLU, %"] - wide["single rank space"]["MMLU, %"] == pytest.approx(0.92)
    four = printed("sharp/table4")
    steps = "steps to the target"
    assert 1 - four["SHARP"][steps] / four["standard KD"][steps] == pytest.approx(0.574, abs=5e-4)
    seconds = "wall clock, s"
    assert four["SHARP"][seconds] / four["standard KD"][seconds] == pytest.approx(1.037, abs=5e-4)
    five = (
        printed("sharp/table5")["SHARP"]["MBPP pass@1, %"],
        printed("sharp/table5")["standard KD"]["MBPP pass@1, %"],
    )
    assert five[0] / five[1] == 2.5


DWA_KD_AVERAGES = {
    "table1": {"teacher": 25.44, "SFT": 13.85, "DSKD": 16.68, "DWA-KD": 17.68},
    "table1_gpt2_340m": {"ULD": 16.29, "DSKD": 17.25, "DWA-KD": 19.35},
    "table2_gpt2_1.5b": {"MinED": 20.83, "DSKD": 21.04, "DWA-KD": 22.85},
    "table2_opt_2.7b": {"MultiLevelOT": 20.92, "DSKD": 22.09, "DWA-KD": 23.20},
    "table2_tinyllama": {"teacher": 28.31, "DSKD": 23.54, "DWA-KD": 25.06},
    "table3": {"entropy weights": 17.23, "warping": 17.30, "banded warping": 17.25},
    "table3_tinyllama": {"entropy weights": 24.28, "warping": 23.71, "banded warping": 24.11},
    "table6": {"ALM": 16.01, "DSKD v2": 17.78, "DWA-KDv2": 17.89},
}
"""The column Avg. as it is printed."""


@pytest.mark.parametrize("name", DWA_KD_AVERAGES)
def test_rows_of_dwa_kd_have_the_averages_that_the_paper_prints(name):
    rows = printed(f"dwa_kd/{name}")
    for row, average in DWA_KD_AVERAGES[name].items():
        assert sum(rows[row].values()) / 4 == pytest.approx(average, abs=0.011), row


def test_ablations_of_the_dual_spaces_are_those_of_the_papers(tmp_path):
    def settings(name, variant, scale="small"):
        recipe = resolve(plan_of(name, scale, tmp_path), variant, 10, tmp_path, {}, [])
        return next(choice.settings for choice in recipe.objectives if choice.use.startswith("dual_space."))

    assert settings("dskd/spaces", "student space")["space"] == "student"
    assert settings("dskd/alignment", "same bytes before")["positions"] == "context"
    assert settings("dskd/baselines", "DSKD", "paper")["positions"] == "exact"
    assert settings("dskd/divergences", "DSKD, adaptive KL")["divergence"] == "adaptive_kl"
    banded = settings("dwa_kd/table3", "banded warping", "paper")
    assert (banded["weights"], banded["warp"], banded["band"]) == ("none", "both", "entropy")
    weighted = settings("dwa_kd/table3", "entropy weights")
    assert (weighted["weights"], weighted["warp"]) == ("both", "none")


def test_the_page_about_reproducing_names_every_file():
    text = (ROOT / "docs" / "reproducing.md").read_text() + (ROOT / "docs" / "searching.md").read_text()
    missing = [name for name in ENTRIES if not re.search(rf"`{re.escape(name)}`", text)]
    assert missing == []


def column(**keys):
    """An experiment that has an exam, and one published column."""
    return {
        "test": {"on": {"dolly": None}},
        "published": {"source": "S", "columns": {"PPL": {"better": "lower", **keys}}},
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"publishd": {}}, r"x.yaml:\d+: publishd: unknown key; did you mean published\?"),
        ({"tiny": {"sets": {}}}, r"x.yaml:\d+: tiny.sets: unknown key; did you mean set\?"),
        ({"published": {"columns": {}}}, r"x.yaml:\d+: published.source: missing"),
        ({"published": {"source": "S", "rows": {"KDD": {}}}}, r"published.rows: no variant 'KDD'; .*KD"),
        ({"published": {"source": "S", "rows": {"KD": {"PPL": 1}}}}, r"published.rows.KD: no column 'PPL'"),
        ({"published": {"source": "S", "against": "SHRP"}}, r"published.against: no variant 'SHRP'"),
        (
            {"published": {"source": "S", "columns": {"a": {"better": "less"}}}},
            r"columns.a.better: expected lower or",
        ),
        (column(ours="los"), r"columns.PPL: \[los\]: no such number of a run; did you mean loss\?"),
        (column(ours=["tests", "doly", "loss"]), r"no exam 'doly' at this scale; did you mean dolly\?"),
        (column(ours=["to_target", "step"]), r"expected one of steps, tokens, seconds"),
        (column(ours=["tests", "dolly"]), r"expected one number of a run, \[tests, EXAM, METRIC\]"),
        (column(ours="agreement"), r"agreement is higher where it is better, and the column says lower"),
        ({"like": "absent.yaml"}, r"cannot read the recipe .*absent.yaml"),
    ],
)
def test_a_malformed_experiment_is_one_sentence(tmp_path, changes, sentence):
    path = tmp_path / "x.yaml"
    values = {"about": "a", "base": {"seed": 1}, "against": "KD", "seeds": [1, 2], "variants": {"KD": {}}}
    path.write_text(yaml.safe_dump(values | changes, sort_keys=False))
    with pytest.raises(BadInput, match=sentence):
        read_experiment(path, "small")
