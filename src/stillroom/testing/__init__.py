"""The contract of objectives, for everyone who writes one.

    from stillroom.testing import check_objective
    check_objective(MyObjective(alpha=0.3))        # or check_objective("my_package.mine")

Runs the objective on small random signals, on the CPU, in well under a second, and raises an AssertionError
that names the broken promise. What it cannot know is which formula was meant: write that down twice, and
compare.
"""

from stillroom import objectives
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.testing._promises import CHECKS, Trial, check_settings, check_zero_at_match
from stillroom.testing._vocabulary import letters

STUDENT = ModelShape(13, 8, 4, 2, 1, 4, "llama", "letters", letters("abcdefghijkl"), 0)
TEACHER = ModelShape(13, 12, 6, 4, 2, 6, "llama", "letters", letters("abcdefghijkl"), 0)
OTHER_TEACHER = ModelShape(17, 12, 6, 4, 2, 6, "llama", "other letters", letters("xyzlkjihgfedcba "), 0)
"""Of another vocabulary: twelve tokens of it are the student's, under other ids."""


def check_objective(
    objective: Objective | str, *, student: ModelShape = STUDENT, teacher: ModelShape = TEACHER, seed: int = 0
) -> None:
    """Check every promise of the interface; a name stands for that objective with its default settings.

    Give shapes where the objective needs others: more layers, one head count, two vocabularies.
    """
    if isinstance(objective, str):
        objective = objectives.find(objective)()
    check_settings(objective)
    trial = Trial.of(objective, student, teacher, seed)
    for check in CHECKS:
        check(trial)
    if objective.zero_at_match:
        check_zero_at_match(Trial.of(objective, student, student, seed))
