"""What a comparison would do, from what lies on disk; nothing is started."""

from stillroom.compare.exams import sittings
from stillroom.compare.schedule import Run, Schedule, resumable, state


def preview(wanted: Schedule) -> list[str]:
    """One line a run; learning rates that no trial has chosen yet are those of the base."""
    trials = [run for found in wanted.trials().values() for run in found.values()]
    runs = wanted.runs({})
    lines = []
    for run in [*trials, *runs]:
        lines.append(f"{run.folder.name}: {_fate(run)}")
        lines += [f"  note: {sentence}" for sentence in run.recipe.warnings]
    if trials:
        lines.append("the learning rates of the runs are chosen by the trials")
    if (test := wanted.plan.test) is not None:
        done = sum(each.done() for each in sittings(runs, wanted.plan.against, test, wanted.output))
        lines.append(f"then every student, and its teacher once, sits: {', '.join(test.on)} ({done} have)")
    return lines


def _fate(run: Run) -> str:
    what = state(run)
    if what in ("done", "missing"):
        return what
    step = resumable(run)
    return f"{what}; goes on from step {step}" if step else f"{what}; made anew"
