"""A comparison in plain words, from its numbers alone: who is best, by how much, and who cannot be told apart.

Nothing is claimed that the seeds do not carry: without two seeds there is no interval, and an interval that covers zero
means "cannot be told apart".
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.numerics.paired_difference import Difference
from stillroom.report.markup import label
from stillroom.report.numbers import finite, fixed, with_minus
from stillroom.report.standings import HELD_OUT, OVERVIEW, Column, Sheet, Standing, covers_zero, standings

_LONGEST = 48


def verdict(content: Mapping[str, Any], found: Sequence[Sheet]) -> list[str]:
    """The first sentence is the answer; the others say how sure it is, what it costs and where other marks disagree."""
    sheet = main_sheet(found)
    column = sheet.main if sheet else None
    if sheet is None or column is None:
        return ["No variant has a finished run with a finite result yet, so there is nothing to compare."]
    ranked = [each for each in standings(sheet, column) if each.values]
    best = next(each for each in ranked if each.to_best == "best")
    against = str(content.get("against") or "")
    first = _answer(sheet, column, best, ranked, against)
    if incomplete(content):
        first = f"So far, with runs missing: {first[:1].lower()}{first[1:]}"
    sentences = [
        first,
        _corrected(sheet, column, best.name, against),
        _alike(ranked, against if best.name != against else ""),
        _untrained(sheet, column, best),
    ]
    sentences += [_price(content, best.name, against), _elsewhere(found, sheet, best.name)]
    return [sentence for sentence in sentences if sentence]


def main_sheet(found: Sequence[Sheet]) -> Sheet | None:
    """The first exam, for the held-out set may have chosen the learning rates; the held-out set where there is none."""
    return next((sheet for sheet in [*found[1:], *found[:1]] if sheet.main is not None), None)


def incomplete(content: Mapping[str, Any]) -> bool:
    cautions = content.get("cautions") or []
    return bool(content.get("failed")) or any(str(each).startswith("NOT COMPLETE") for each in cautions)


def metric_name(sheet: Sheet, column: Column) -> str:
    """As it stands in a sentence: held-out loss, Rouge-L on dolly."""
    name = column.title if column.title.startswith(("Rouge-L", "KL ")) else column.title.lower()
    if sheet.title == OVERVIEW:
        return column.title
    return f"held-out {name}" if sheet.title == HELD_OUT else f"{name} on {label(sheet.title, 40)}"


def bounds(column: Column, each: Difference, signed: bool = True) -> str:
    """0.170 [0.160, 0.180], with as many decimals as the interval can carry; without a sign as a distance."""
    mean, ends = each.mean, [] if each.low is None or each.high is None else [each.low, each.high]
    if not signed and mean < 0:
        mean, ends = -mean, [-end for end in reversed(ends)]
    decimals = _decimals(column, mean, ends)

    def written(value: float) -> str:
        if not signed:
            return fixed(value * column.factor, decimals)
        return with_minus(f"{value * column.factor:+.{decimals}f}")

    return written(mean) + (f" [{', '.join(map(written, ends))}]" if ends else "")


def _decimals(column: Column, mean: float, ends: Sequence[float]) -> int:
    """Two digits of the half width, or of the difference where there is none."""
    scale = abs(ends[1] - ends[0]) / 2 if ends else abs(mean)
    scale *= column.factor
    decimals = min(column.decimals, 2)
    while decimals <= column.decimals and 0 < scale * 10**decimals < 9.5:
        decimals += 1
    return decimals


def _answer(sheet: Sheet, column: Column, best: Standing, ranked: Sequence[Standing], against: str) -> str:
    name, mark, what = label(best.name, _LONGEST), column.write(best.mean or 0.0), metric_name(sheet, column)
    if len(ranked) == 1:
        seeds = f"mean of {len(best.values)} seeds" if len(best.values) > 1 else "one seed"
        return f"{name} reaches {what} {mark} ({seeds}); no other variant has a result to compare it with."
    extreme, where = "lowest" if column.better == "lower" else "highest", _where(best, ranked)
    beside = sheet.difference(column, best.name, against)
    if best.name == against:
        return _nothing_better(sheet, column, best, ranked)
    if beside is None:
        return f"{where}, {name} has the {extreme} {what}: {mark}."
    other, apart = label(against, _LONGEST), bounds(column, beside, signed=False)
    direction = "below" if beside.mean < 0 else "above"
    if beside.n == 1:
        return (
            f"On this pair and with one seed, {name} has the {extreme} {what}: {mark}, {apart} {direction} {other}. "
            "One seed gives no interval: a small difference may be chance."
        )
    if covers_zero(beside):
        return (
            f"{where}, {name} has the {extreme} mean {what}, {mark}, but cannot be told apart from {other}: "
            f"the difference is {bounds(column, beside)} over {beside.n} seeds."
        )
    return (
        f"{where}, {name} has the {extreme} {what}: {mark}, {apart} {direction} {other} "
        f"on {beside.wins} of {beside.n} seeds."
    )


def _where(best: Standing, ranked: Sequence[Standing]) -> str:
    """The best is sought among the variants with most seeds; one with fewer may have a better mean by luck."""
    whole = all(len(each.values) == len(best.values) for each in ranked)
    return "On this pair" if whole else "On this pair, among the variants with most seeds"


def _corrected(sheet: Sheet, column: Column, best: str, against: str) -> str:
    """Where the interval leaves zero out, and the correction for having tried many variants takes that back."""
    p = sheet.adjusted.get(best, {}).get(column.key)
    if p is None or p <= 0.05 or covers_zero(sheet.difference(column, best, against)) is not False:
        return ""
    return f"Corrected for the number of variants that were tried, this may be chance (p = {p:.2g})."


def _nothing_better(sheet: Sheet, column: Column, best: Standing, ranked: Sequence[Standing]) -> str:
    word = "lower" if column.better == "lower" else "higher"
    what, name = metric_name(sheet, column), label(best.name, _LONGEST)
    start = f"{_where(best, ranked)}, no variant has a {word} {what} than {name}, {column.write(best.mean or 0.0)}"
    whole = [each for each in ranked if len(each.values) == len(best.values)]
    nearest = next((each for each in whole if each is not best), None)
    if nearest is None:
        return f"{start}."
    gap = sheet.difference(column, nearest.name, best.name)
    if gap is None:
        return f"{start}."
    direction = "above" if gap.mean > 0 else "below"
    chance = " with the one seed there is, which gives no interval" if gap.n == 1 else ""
    return f"{start}; the nearest is {label(nearest.name, _LONGEST)}, {bounds(column, gap, False)} {direction}{chance}."


def _alike(ranked: Sequence[Standing], said: str) -> str:
    """Who cannot be told apart from the best; of `said`, the first sentence has told already."""
    alike = [each.name for each in ranked if each.to_best == "alike"]
    names = [label(name, _LONGEST) for name in alike if name != said]
    if not alike:
        whole = len(ranked) > 2 and all(each.to_best in ("best", "behind") for each in ranked)
        return "Every other variant can be told apart from it." if whole else ""
    if not names:
        return ""
    if len(names) > 6:
        names = [*names[:5], f"{len(names) - 5} more"]
    if said in alike:
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
        return f"Nor can it be told apart from {listed}."
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{listed[:1].upper()}{listed[1:]} cannot be told apart from it."


def _untrained(sheet: Sheet, column: Column, best: Standing) -> str:
    """Said only where training did harm."""
    before = next((m[column.key] for n, m in sheet.marks.items() if "before" in n and column.key in m), None)
    if before is None or best.mean is None:
        return ""
    worse = best.mean >= before if column.better == "lower" else best.mean <= before
    return (
        f"Even so, it is no better than the student before training ({column.write(before)})."
        if worse
        else ""
    )


def _price(content: Mapping[str, Any], best: str, against: str) -> str:
    """Time and memory of the best as multiples of those of the variant that all are paired with; no time where runs
    shared the machine, which says more of their neighbors."""
    variants = content.get("variants") or {}
    mine, others = (variants.get(name, {}).get("mean") or {} for name in (best, against))
    if best == against or not mine or not others:
        return ""
    is_shared = (finite(content.get("jobs")) or 1) > 1
    costs = (
        {"peak_memory_bytes": "memory"} if is_shared else {"seconds": "time", "peak_memory_bytes": "memory"}
    )
    parts = []
    for key, word in costs.items():
        if mine.get(key) and others.get(key):
            parts.append(f"{mine[key] / others[key]:.2f} times the {word}")
    return f"It took {' and '.join(parts)} of {label(against, _LONGEST)}." if parts else ""


def _elsewhere(found: Sequence[Sheet], main: Sheet, winner: str) -> str:
    """Metrics whose best can be told apart from the winner: the order is not the same everywhere."""
    others = []
    for sheet in found:
        for column in sheet.columns:
            if not column.better or column.repeats_loss or (sheet is main and column is main.main):
                continue
            places = {each.name: each for each in standings(sheet, column)}
            best = next((each for each in places.values() if each.to_best == "best"), None)
            if best and best.name != winner and places[winner].to_best == "behind":
                others.append(f"{label(best.name, _LONGEST)} by {metric_name(sheet, column)}")
    if not others:
        return ""
    listed = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return f"Other marks name another best: {listed}."


def seeds_note(found: Sequence[Sheet]) -> str:
    """How far the intervals can be trusted with as many seeds as there are."""
    counts = [
        len(values) for sheet in found for by_key in sheet.values.values() for values in by_key.values()
    ]
    most = max(counts, default=0)
    few = {0: "", 1: "There is one seed: no interval can be given, and small differences may be chance."}
    if most in few:
        return few[most]
    rough = ", and from so few seeds rough" if most < 5 else ""
    spread = (
        f" (at most {most} seeds, {statistics.fmean(counts):.1f} on average)" if min(counts) < most else ""
    )
    return (
        f"Intervals hold the mean difference over all seeds with 95 % confidence{rough}{spread}, one pair at a time: "
        "with many variants, some interval misses zero by chance."
    )
