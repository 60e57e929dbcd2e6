"""The results of a comparison as Markdown: marks, paired differences, exams, costs, measures of objectives, trials."""

from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.report.directions import is_detail
from stillroom.report.markdown import markdown_table
from stillroom.report.markup import clean
from stillroom.report.numbers import duration, memory

TITLES = {
    "loss": "held-out loss",
    "perplexity": "perplexity",
    "bits_per_byte": "bits per byte",
    "teacher_kl": "KL to teacher",
    "calibration_error": "calibration error",
    "agreement": "agreement",
    "rouge_l": "Rouge-L",
}


def table(content: Mapping[str, Any]) -> str:
    """The page beside the JSON file; `content` is what that file holds."""
    parts = [_head(content), _marks(content), _differences(content), *_exams(content), _published(content)]
    parts += [_costs(content), _measures(content), _trials(content)]
    return clean("\n\n".join(part for part in parts if part)) + "\n"


def _head(content: Mapping[str, Any]) -> str:
    where = content["environment"]
    versions = content["versions"]
    lines = [
        f"# {content['name']}: {len(content['variants'])} variants, seeds {', '.join(map(str, content['seeds']))}",
        " ".join(content["about"].split()),
        f"`{content['command']}`" if content["command"] else "",
        f"{content['processor']}, {where['threads']} thread(s) a run, {where['precision']}, torch "
        f"{versions.get('torch', '?')}, transformers {versions.get('transformers', '?')}. Losses in nats per response "
        "token. Mean ± standard deviation over the seeds.",
    ]
    lines += [f"**{sentence}**" for sentence in content["cautions"]]
    lines += [f"**FAILED: {name}:** {reason}" for name, reason in content["failed"].items()]
    return "\n\n".join(line for line in lines if line)


def _marks(content: Mapping[str, Any]) -> str:
    keys = _metrics(content)
    rows = [
        [name, "—", *(_number(marks.get(key)) for key in keys)] for name, marks in content["marks"].items()
    ]
    for name, variant in content["variants"].items():
        spreads = [_spread(variant["mean"].get(key), variant["deviation"].get(key)) for key in keys]
        rows.append([name, f"{variant['learning_rate']:g}", *spreads])
    return markdown_table(["", "learning rate", *(TITLES[key] for key in keys)], rows)


def _differences(content: Mapping[str, Any]) -> str:
    keys = [key for key in _metrics(content) if key != "perplexity"]
    rows = [
        [name, *(_difference(variant["difference"].get(key)) for key in keys)]
        for name, variant in content["variants"].items()
        if name != content["against"]
    ]
    if not rows:
        return ""
    title = f"Minus {content['against']}, paired by seed: mean [95 % interval], seeds on which it is better"
    return _explained(title, rows) + markdown_table(["", *(TITLES[key] for key in keys)], rows)


def _explained(title: str, rows: Sequence[Sequence[str]]) -> str:
    if not any(", p " in cell for row in rows for cell in row):
        return f"{title}:\n\n"
    return f"{title}, and p of the paired t-test after Holm's correction for {len(rows)} comparisons:\n\n"


def _exams(content: Mapping[str, Any]) -> list[str]:
    """One table of means and one of differences for each exam."""
    tests = content.get("tests")
    if tests is None:
        return []
    variants = {name: each.get("tests", {}) for name, each in content["variants"].items()}
    exams = dict.fromkeys(exam for each in (*variants.values(), *tests["marks"].values()) for exam in each)
    parts = [" ".join(tests["notes"])] if exams else ["No exam was sat."]
    for exam in exams:
        measured = [each.get(exam, {}) for each in (*tests["marks"].values(), *variants.values())]
        keys = [k for k in dict.fromkeys(k for each in measured for k in each) if not is_detail(k)]
        parts += [
            _exam(exam, keys, tests["marks"], variants),
            _against(exam, keys, variants, content["against"]),
        ]
    return parts


def _exam(exam: str, keys: Sequence[str], marks: Mapping[str, Any], variants: Mapping[str, Any]) -> str:
    rows = [
        [name, *(_number(each[exam].get(key)) for key in keys)]
        for name, each in marks.items()
        if exam in each
    ]
    for name, each in variants.items():
        entries = [each.get(exam, {}).get(key, {}) for key in keys]
        rows.append([name, *(_spread(entry.get("mean"), entry.get("deviation")) for entry in entries)])
    return f"Exam {exam}, sat after training:\n\n" + markdown_table(
        ["", *(_exam_title(k) for k in keys)], rows
    )


def _against(exam: str, keys: Sequence[str], variants: Mapping[str, Any], against: str) -> str:
    rows = [
        [name, *(_difference(each.get(exam, {}).get(key, {}).get("difference")) for key in keys)]
        for name, each in variants.items()
        if name != against
    ]
    if not rows:
        return ""
    title = f"Exam {exam}, minus {against}, paired by seed"
    return _explained(title, rows) + markdown_table(["", *(_exam_title(key) for key in keys)], rows)


def _exam_title(metric: str) -> str:
    return metric if metric == "loss" else TITLES.get(metric, metric)


def _published(content: Mapping[str, Any]) -> str:
    """Of rows only; whatever else a file says about where they are from is for the page."""
    published = content.get("published") or {}
    rows = {
        name: each for name, each in published.get("rows", published).items() if isinstance(each, Mapping)
    }
    keys = list(dict.fromkeys(key for each in rows.values() for key in each))
    if not keys:
        return ""
    cells = [[name, *(str(each.get(key, "—")) for key in keys)] for name, each in rows.items()]
    return "Published by others, on their data and machines:\n\n" + markdown_table(["", *keys], cells)


def _costs(content: Mapping[str, Any]) -> str:
    rows = []
    for name, variant in content["variants"].items():
        mean, targets = variant["mean"], variant["to_target"]
        cells = ["—"] * 4
        if mean:
            cells = [f"{mean['tokens']:,.0f}", f"{mean['seconds']:.4g}", f"{mean['tokens_per_second']:,.0f}"]
            cells.append(memory(mean["peak_memory_bytes"]))
        rows.append([name, *cells, _target(targets, "steps"), _target(targets, "seconds")])
    beside = f" ({content['jobs']} runs at a time, so seconds are not those of a run alone)"
    title = (
        f"Cost{beside if content['jobs'] > 1 else ''}, and when a run first reaches the final held-out loss of "
        f"{content['against']} with its seed:\n\n"
    )
    heads = [
        "",
        "trained tokens",
        "seconds",
        "tokens/s",
        "peak memory",
        "steps to target",
        "seconds to target",
    ]
    return title + markdown_table(heads, rows)


def _measures(content: Mapping[str, Any]) -> str:
    variants = {name: v["measures"] for name, v in content["variants"].items() if v["measures"]}
    keys = list(dict.fromkeys(key for measures in variants.values() for key in measures))
    rows = [[f"`{key}`", *(_number(measures.get(key)) for measures in variants.values())] for key in keys]
    if not rows:
        return ""
    return "What objectives measured at the end of training, mean of the seeds:\n\n" + markdown_table(
        ["", *variants], rows
    )


def _trials(content: Mapping[str, Any]) -> str:
    if not content["trials"]:
        return ""
    rates = list(dict.fromkeys(rate for losses in content["trials"].values() for rate in losses))
    rows = [
        [name, *(_number(losses.get(rate)) for rate in rates)] for name, losses in content["trials"].items()
    ]
    return "Held-out loss of the learning-rate trials (one seed):\n\n" + markdown_table(["", *rates], rows)


def _metrics(content: Mapping[str, Any]) -> list[str]:
    measured = [variant["mean"] for variant in content["variants"].values()]
    return [key for key in TITLES if any(key in mean for mean in measured)]


def _target(targets: Sequence[Mapping[str, Any]], key: str) -> str:
    """Mean over the runs that got there; how many of all, where some did not."""
    if not targets:
        return "—"
    got = [each[key] for each in targets if each[key] is not None]
    if not got:
        return "never reached"
    mean = sum(got) / len(got)
    text = f"{mean:.0f}" if key == "steps" else duration(mean)
    return text if len(got) == len(targets) else f"{text} (reached by {len(got)} of {len(targets)})"


def _difference(each: Mapping[str, Any] | None) -> str:
    if each is None:
        return "—"
    bounds = "" if each["low"] is None else f" [{each['low']:+.2g}, {each['high']:+.2g}]"
    p = "" if each.get("p_holm") is None else f", p {each['p_holm']:.2g}"
    return f"{each['mean']:+.2g}{bounds}, {each['wins']}/{each['n']}{p}"


def _spread(mean: float | None, deviation: float | None) -> str:
    return _number(mean) if mean is None or deviation is None else f"{mean:.4g} ± {deviation:.2g}"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.4g}"
