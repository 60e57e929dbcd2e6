"""Is the teacher a teacher, and will the training fit? Asked in seconds, before anything is trained.

The same questions come before every distillation (`run`); here nothing follows them, and nothing is written.
"""

from stillroom.core.progress import Display, Silent
from stillroom.recipe.build import build
from stillroom.recipe.prepare import prepare
from stillroom.recipe.readiness import Preflight, examine
from stillroom.recipe.run import training_arguments
from stillroom.recipe.schema import Recipe


def preflight(recipe: Recipe, display: Display | None = None, *, batches: int = 2) -> Preflight:
    """Prepare and load as a run would, and examine. `BadInput` for what a run would refuse before; what the
    examination found is in the result, which `Preflight.require` turns into `BadInput`."""
    display = display or Silent()
    arguments = training_arguments(recipe)
    prepared = prepare(recipe, display)
    with display.task("Loading the models") as advance:
        built = build(prepared, advance)
    built.student.to(arguments.device)
    if built.teacher is not None:
        built.teacher.to(arguments.device)
    with display.task("Preflight") as advance:
        return examine(prepared, built, arguments, advance, batches)
