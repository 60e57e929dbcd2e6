"""The house itself: the map equals the tree, and light commands stay light."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "stillroom"
FENCE = "<!-- tree: python tests/test_house.py -->"


def tree() -> str:
    """Every module with the first line of its docstring."""
    lines = []
    for path in sorted(
        SOURCE.rglob("*.py"), key=lambda each: (str(each.parent), each.name != "__init__.py", each)
    ):
        place = path.relative_to(SOURCE)
        depth = len(place.parts) - 1
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        if path.name == "__init__.py":
            name = f"{place.parent.name}/" if depth else "stillroom/"
            lines.append(f"{'  ' * depth}{name:<{34 - 2 * depth}}{first}")
        else:
            lines.append(f"{'  ' * (depth + 1)}{path.name:<{32 - 2 * depth}}{first}")
    return "\n".join(line.rstrip() for line in lines)


def test_the_map_in_architecture_equals_the_tree():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    printed = text.split(FENCE)[1].split("```")[1].removeprefix("text\n").rstrip()
    assert printed == tree(), "run `python tests/test_house.py` to draw the tree in ARCHITECTURE.md anew"


def test_every_module_says_what_it_is_for():
    silent = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_help_catalog_and_recipes_need_no_torch():
    script = (
        "import sys; import stillroom, stillroom.cli.main, stillroom.recipe.load, stillroom.report.page;"
        "import stillroom.objectives as o; o.names(); [o.settings(n) for n in o.names()];"
        "print([m for m in ('torch', 'transformers', 'datasets', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


if __name__ == "__main__":
    path = ROOT / "ARCHITECTURE.md"
    before, _, after = path.read_text().partition(FENCE)
    rest = after.split("```", 2)[2]
    path.write_text(f"{before}{FENCE}\n```text\n{tree()}\n```{rest}")
