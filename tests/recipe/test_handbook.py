from pathlib import Path

from stillroom.recipe.handbook import recipe_page
from stillroom.recipe.schema import Data, Evaluation, Lora, ObjectiveChoice, Recipe, Student, Teacher, Tokens

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def test_the_page_is_made_from_the_schema():
    assert PAGE.read_text(encoding="utf-8") == recipe_page(), (
        "python -m stillroom.recipe.handbook > docs/recipes.md"
    )


def test_every_key_is_described():
    for model in (Recipe, Student, Lora, Teacher, Data, Tokens, ObjectiveChoice, Evaluation):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert f"| `{name}` |" in recipe_page()


def test_the_example_on_the_page_is_a_recipe():
    from stillroom.recipe.strict_yaml import parse

    example = recipe_page().split("```yaml\n")[1].split("```")[0]
    assert Recipe.model_validate(parse(example, "page").values).training["learning_rate"] == 5e-4
