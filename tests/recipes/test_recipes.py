"""Every recipe in `recipes/` is valid, and so is every variant of every comparison, at both sizes."""

import re
from pathlib import Path

import pytest

from stillroom.compare.plan import read_plan, resolve
from stillroom.objectives import find
from stillroom.recipe import strict_yaml
from stillroom.recipe.load import load_recipe

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "recipes").rglob("*.yaml"))
COMPARISONS = [path for path in FILES if "variants" in strict_yaml.read(path).values]
BASES = {"small.yaml"}
"""Recipes with ${assets}, which only a comparison fills in."""
RECIPES = [path for path in FILES if path not in COMPARISONS and path.name not in BASES]


def named(paths):
    return [pytest.param(path, id=path.stem) for path in paths]


def made(recipe):
    """The objectives of a recipe: settings that contradict each other are refused by the classes themselves."""
    return [find(choice.use)(**choice.settings) for choice in recipe.objectives]


@pytest.mark.parametrize("path", named(RECIPES))
def test_a_recipe_is_valid(path):
    recipe = load_recipe(path)
    made(recipe)
    assert recipe.data.train_split != recipe.data.eval_split


@pytest.mark.parametrize("size", ["small", "paper"])
@pytest.mark.parametrize("path", named(COMPARISONS))
def test_every_variant_is_valid_and_differs_from_what_it_is_held_against(path, size, tmp_path):
    plan = read_plan(path, size)
    assert len(plan.seeds) >= 3, "differences are judged over seeds"
    assert len(plan.rates) != 1
    against = resolve(plan, plan.against, 10, tmp_path, {}, [])
    for variant in plan.variants:
        resolve(plan, variant, 10, tmp_path, plan.trial, [])
        recipe = resolve(plan, variant, 10, tmp_path, {}, [])
        made(recipe)
        assert recipe.data.eval is not None
        same = (recipe.objectives, recipe.training) == (against.objectives, against.training)
        assert same == (variant == plan.against)


@pytest.mark.parametrize("path", named(FILES))
def test_the_comment_says_machine_and_command(path):
    lines = path.read_text().splitlines()
    top = "\n".join(line for line in lines if line.startswith("#"))
    assert lines[0].startswith("# ")
    assert "Machine:" in top
    assert "stillroom distill" in top or f"recipes/sharp/{path.name}" in top


def test_the_ablations_are_those_of_the_paper(tmp_path):
    def settings(name, variant, size="small"):
        plan = read_plan(ROOT / "recipes" / "sharp" / name, size)
        recipe = resolve(plan, variant, 10, tmp_path, {}, [])
        return next(choice.settings for choice in recipe.objectives if choice.use == "attention.sharp")

    assert settings("table6.yaml", "without head")["granularities"] == ["token", "layer"]
    assert settings("table6.yaml", "single rank space", "paper")["rank_space"] == "shared"
    assert settings("table7.yaml", "d = 768")["rank_size"] == 768
    assert settings("table8.yaml", "Gram-Schmidt")["orthogonality"] == "penalty"
    assert settings("table8.yaml", "paper mode")["mode"] == "paper"
    assert settings("table4.yaml", "SHARP", "paper")["num_ranks"] == 3


def test_the_order_of_objectives_is_one_for_all_bases():
    """Dotted keys of variants (objectives.0.rank_size) count on it."""
    for name in ("small", "opt", "llama", "deepseek", "qwen_coder"):
        uses = [
            each["use"] for each in strict_yaml.read(ROOT / f"recipes/sharp/{name}.yaml").values["objectives"]
        ]
        assert uses == ["attention.sharp", "hard.cross_entropy", "logits.forward_kl"], name


def test_the_readme_names_every_file():
    text = (ROOT / "recipes" / "README.md").read_text()
    missing = [path.name for path in FILES if not re.search(rf"\b{re.escape(path.name)}", text)]
    assert missing == []
