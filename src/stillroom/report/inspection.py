"""What `stillroom inspect` found inside the runs: gradients, features and losses, each with one plain sentence."""

from collections.abc import Sequence

from stillroom.core.inspection import (
    Course,
    Features,
    GradientPair,
    Gradients,
    Inspection,
    Interference,
    Landscape,
    Reach,
    Separation,
)
from stillroom.report.charts import Line, line_chart
from stillroom.report.heads import heads_section
from stillroom.report.heat import heat_table
from stillroom.report.markup import Markup, element, join, label
from stillroom.report.numbers import amount, cosine, duration, fixed, percent
from stillroom.report.read import Run
from stillroom.report.scatter import scatter_chart
from stillroom.report.settings import scrolling, swatch

_MOST_LINES = 6
_ALL, _QUERY_KEY = "all", "query and key"
DEFINITION = (
    "SHARP calls 1 - cosine interference: 0 for gradients that agree, 1 for orthogonal ones, 2 for opposed ones. "
    "By that definition making agreeing gradients orthogonal raises interference; what costs progress is a "
    "negative cosine, counted here as a conflict."
)


def inspection_section(runs: Sequence[Run]) -> list[Markup]:
    """The section's content; nothing where no run was inspected."""
    parts: list[Markup] = []
    for index, run in enumerate(runs):
        if run.inspection is not None:
            many = len(runs) > 1
            parts += [element("h3", swatch(index), label(run.label, 60))] if many else []
            parts += _run(run.inspection, run.summary.steps)
    return parts


def _run(found: Inspection, steps: int) -> list[Markup]:
    parts = []
    if found.steps != steps:
        parts.append(_aside(f"Inspected at step {found.steps:,}; the run has {steps:,} steps now."))
    if found.interference is not None:
        parts += _interference(found.interference)
    for each in found.features or []:
        parts += _features(each)
    for merged in found.heads or []:
        parts += heads_section(merged)
    if found.landscape is not None:
        parts += _landscape(found.landscape)
    if found.reach is not None:
        parts.append(element("p", reach_sentence(found.reach)))
    notes = [element("li", note) for note in found.notes]
    parts += [element("ul", *notes, class_="notes")] if notes else []
    return [element("div", *parts, class_="inside")]


# --- gradients ----------------------------------------------------------------------------------------------------


def _interference(found: Interference) -> list[Markup]:
    last = found.places[-1]
    parts = [
        element("h3", "Do the terms pull in one direction?"),
        element("p", interference_sentence(last)),
        heat_table(
            f"Cosine of gradients with respect to the student, {last.place.name} of training, "
            f"{found.batches} batches of {found.batch_size}",
            found.terms,
            last.groups[_ALL],
        ),
        element("p", DEFINITION, class_="legend"),
    ]
    charts = _over_training(found) + _over_blocks(last)
    if charts:
        parts.append(element("div", *charts, class_="charts"))
    return parts + [_aside(note) for note in found.notes]


def interference_sentence(found: Gradients) -> str:
    """The pair that pulls apart most, in words."""
    pairs = [pair for pair in found.groups[_ALL] if pair.cosine is not None]
    if not pairs:
        return "No two terms have gradients that could be compared."
    worst = min(pairs, key=lambda pair: pair.cosine or 0.0)
    names = f"{worst.first} and {worst.second}"
    share = percent(worst.conflict_rate or 0.0, 0)
    is_alone = len(pairs) == 1
    opening = f"{names} have" if is_alone else f"Of {len(pairs)} pairs of terms, {names} agree least, with"
    sentence = f"{opening} a mean cosine of {cosine(worst.cosine or 0.0)}"
    restricted = _same_pair(found.groups.get(_QUERY_KEY, []), worst)
    if restricted is not None and restricted.cosine is not None:
        sentence += f" ({cosine(restricted.cosine)} in the query and key projections)"
    return f"{sentence}; they oppose each other in {share} of the batches."


def _over_training(found: Interference) -> list[Markup]:
    if len(found.places) < 2:
        return []
    lines = [
        Line(
            _short(pair),
            index,
            [
                (each.place.step, same.cosine)
                for each in found.places
                if (same := _same_pair(each.groups[_ALL], pair)) is not None and same.cosine is not None
            ],
        )
        for index, pair in enumerate(_shown(found.places[-1].groups[_ALL]))
    ]
    return _chart(
        "Cosine over training", lines, "steps", f"All parameters of the student. {_left_out(found)}"
    )


def _over_blocks(found: Gradients) -> list[Markup]:
    blocks = [
        (int(name.split()[1]), pairs) for name, pairs in found.groups.items() if name.startswith("block ")
    ]
    lines = [
        Line(
            _short(pair),
            index,
            [
                (number, same.cosine)
                for number, pairs in blocks
                if (same := _same_pair(pairs, pair)) is not None and same.cosine is not None
            ],
        )
        for index, pair in enumerate(_shown(found.groups[_ALL]))
    ]
    return _chart("Cosine in every block", lines, "block", f"{found.place.name} of training.")


def _left_out(found: Interference) -> str:
    pairs = len(found.terms) * (len(found.terms) - 1) // 2
    return f"The {_MOST_LINES} pairs of {pairs} that agree least." if pairs > _MOST_LINES else ""


def _chart(title: str, lines: Sequence[Line], x_name: str, note: str) -> list[Markup]:
    drawn = [line for line in lines if line.points]
    return [line_chart(title, drawn, (), x_name, note)] if drawn else []


def _shown(pairs: Sequence[GradientPair]) -> list[GradientPair]:
    """The pairs that agree least: more lines than a chart can hold say nothing."""
    compared = [pair for pair in pairs if pair.cosine is not None]
    return sorted(compared, key=lambda pair: pair.cosine or 0.0)[:_MOST_LINES]


def _same_pair(pairs: Sequence[GradientPair], wanted: GradientPair) -> GradientPair | None:
    return next((each for each in pairs if (each.first, each.second) == (wanted.first, wanted.second)), None)


def _short(pair: GradientPair) -> str:
    return f"{_name(pair.first)}·{_name(pair.second)}"


def _name(term: str) -> str:
    """The part of "logits.forward_kl/divergence" that a reader tells terms apart by, for the end of a line."""
    objective, _, last = term.rpartition("/")
    names = {"divergence": objective.rpartition(".")[2], "cross_entropy": "labels"}
    return names.get(last, last)


# --- features -----------------------------------------------------------------------------------------------------


def _features(found: Features) -> list[Markup]:
    parts = [element("h3", f"Features of {label(found.objective, 60)}, before and after projection")]
    if found.separations:
        parts += [element("p", features_sentence(found)), _separations(found.separations)]
    charts = [
        scatter_chart(
            f"{each.method}, {each.space}", each.points, f"{found.place.name}, {found.samples} samples"
        )
        for each in found.scatters
    ]
    parts += [element("div", *charts, class_="charts")] if charts else []
    return parts + [_aside(note) for note in found.notes]


def features_sentence(found: Features) -> str:
    """Whether the clusters after projection say more than the projections would by themselves."""
    after = next((each for each in found.separations if each.by_construction is not None), None)
    if after is None:
        first = found.separations[0]
        return (
            f"The granularities of the {first.side} separate with a silhouette of {cosine(first.silhouette)}."
        )
    control = after.by_construction or 0.0
    opening = (
        f"After projection the granularities of the {after.side} separate with a silhouette of "
        f"{cosine(after.silhouette)}; one and the same feature, sent through unrelated random projections, "
        f"reaches {cosine(control)}"
    )
    if after.silhouette <= control + 0.05:
        return f"{opening}: projections alone give as much, so the clusters say nothing about the model."
    return f"{opening}: the projections alone do not explain all of it."


def _separations(found: Sequence[Separation]) -> Markup:
    titles = (
        "Model",
        "Space",
        "Silhouette",
        "Shuffled",
        "By construction",
        "Cosine of granularities",
        "of samples",
    )
    rows = []
    for each in found:
        spread = "" if each.cosine_between_sd is None else f" ± {cosine(each.cosine_between_sd)}"
        numbers = (
            cosine(each.silhouette),
            cosine(each.shuffled),
            _or_dash(each.by_construction),
            _or_dash(each.cosine_between) + spread,
            _or_dash(each.cosine_within),
        )
        rows.append(
            element(
                "tr", element("th", each.side, scope="row"), element("td", each.space), *map(_td, numbers)
            )
        )
    head = element("thead", element("tr", *(element("th", title, scope="col") for title in titles)))
    caption = element("caption", "How well the granularities fall apart, and two controls")
    return scrolling("Separation", element("table", caption, head, element("tbody", *rows)))


# --- landscape ----------------------------------------------------------------------------------------------------


def _landscape(found: Landscape) -> list[Markup]:
    lines = [_line(course, index) for index, course in enumerate(found.directions)]
    note = f"Held-out loss in nats per token, {found.samples} samples, {found.place.name} of training."
    charts = _chart("Loss along random directions", lines, "alpha", note)
    if found.interpolation is not None:
        straight = [_line(found.interpolation, 0)]
        charts += _chart("From the untrained student to the last", straight, "alpha", "0 is before training.")
    return [
        element("h3", "The loss around the student"),
        element("p", landscape_sentence(found)),
        element("div", *charts, class_="charts"),
        *(_aside(note) for note in found.notes),
    ]


def landscape_sentence(found: Landscape) -> str:
    bends = [course.curvature for course in found.directions if course.curvature is not None]
    if not bends:
        return "The loss around the student is not finite, so its curvature cannot be said."
    mean = sum(bends) / len(bends)
    spread = f" (from {fixed(min(bends), 2)} to {fixed(max(bends), 2)})" if len(bends) > 1 else ""
    many = "random direction" if len(bends) == 1 else "random directions"
    return (
        f"Along {len(bends)} {many}, each as long as the weights, the loss bends by {fixed(mean, 2)}{spread} "
        "nats per unit squared; a smaller number is a flatter place."
    )


def _line(course: Course, index: int) -> Line:
    nan = float("nan")
    losses = [nan if loss is None else loss for loss in course.losses]
    return Line(course.name, index, list(zip(course.alphas, losses, strict=True)))


# --- time to a target ---------------------------------------------------------------------------------------------


def reach_sentence(found: Reach) -> str:
    goal = f"held-out loss {fixed(found.target)}"
    goal += "" if found.source == "given" else f" (the final one of {label(found.source, 40)})"
    if found.step is None or found.seconds is None:
        lowest = "" if found.best is None else f"; its lowest is {fixed(found.best)}"
        return f"The run never reached {goal}{lowest}."
    sentence = f"The run reached {goal} after {amount(found.step)} steps and {duration(found.seconds)}"
    if found.rival_step is None or found.rival_seconds is None:
        return f"{sentence}."
    rival = f"{label(found.source, 40)} after {amount(found.rival_step)} steps and {duration(found.rival_seconds)}"
    return f"{sentence}; {rival}."


def _or_dash(value: float | None) -> str:
    return "—" if value is None else cosine(value)


def _td(text: str) -> Markup:
    return element("td", text)


def _aside(sentence: str) -> Markup:
    return join(element("p", sentence, class_="aside"))
