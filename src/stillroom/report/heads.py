"""What `stillroom inspect` found about merged heads: how shares are distributed, what a merge loses, and the maps."""

from collections.abc import Sequence
from itertools import chain

from stillroom.core.inspection import HeadPicture, Heads, LayerMerges, LayerPicture, Sentence
from stillroom.report.head_map import head_map
from stillroom.report.markup import Markup, element, label
from stillroom.report.merge_shares import merge_shares, shares_axis
from stillroom.report.numbers import cosine, fixed, percent
from stillroom.report.settings import scrolling

_MOST_CHARTS = 12
TITLES = {"own shares": "missed", "equal shares": "by equal shares", "one head alone": "by one head alone"}
"""Ways of merging in `LayerMerges.lost`, as columns of the table."""


def heads_section(found: Heads) -> list[Markup]:
    merging = [layer for layer in found.layers if layer.merges]
    parts = [element("h3", f"Heads that {label(found.objective, 60)} merges")]
    if merging:
        parts += [element("p", heads_sentence(found)), _table(found), *_charts(merging)]
    parts += [element("p", note, class_="aside") for note in found.notes]
    return parts + (_pictures(found.sentence) if found.sentence is not None else [])


def heads_sentence(found: Heads) -> str:
    """How often alpha leaves its bounds, and what the merges lose, over all layers."""
    merging = [layer for layer in found.layers if layer.merges]
    if not merging:
        return "No shares were measured."
    merges = sum(len(layer.merges) for layer in merging)
    share = everywhere(merging)
    lie = "never lie outside" if share == 0 else f"lie outside in {percent(share)} of the cases"
    sentence = (
        f"The best shares of a merge, before they are kept between 0 and 1, {lie} ({merges} merges in "
        f"{len(merging)} layers, {found.samples} texts)."
    )
    lost = [lost_everywhere(merging, name) for name in TITLES]
    if None in lost:
        return sentence
    own, equal, alone = (percent(value or 0.0) for value in lost)
    return (
        f"{sentence} A merge misses {own} of what its heads write together (squared error over squared size), equal "
        f"shares {equal}, one of the heads in place of all {alone}."
    )


def everywhere(merging: Sequence[LayerMerges]) -> float:
    """Share outside the bounds over all merges of these layers; every merge has seen the same texts."""
    outside = [merge.outside for layer in merging for merge in layer.merges]
    return sum(outside) / len(outside)


def lost_everywhere(merging: Sequence[LayerMerges], name: str) -> float | None:
    """Mean over the layers; None where one was not measured."""
    lost = [layer.lost[name] for layer in merging if name in layer.lost]
    return sum(lost) / len(lost) if len(lost) == len(merging) else None


def medians(layer: LayerMerges) -> str:
    """The lowest and highest median of the first shares."""
    middles = [merge.quantiles[0][3] for merge in layer.merges]
    low, high = cosine(min(middles)), cosine(max(middles))
    return low if low == high else f"{low} to {high}"


# --- shares -------------------------------------------------------------------------------------------------------


def _table(found: Heads) -> Markup:
    merging = [layer for layer in found.layers if layer.merges]
    heads = ("Student layer", "Teacher layer", "Merges", "Median share of the first head", "Outside 0 to 1")
    titles = (*heads, *(title.capitalize() for title in TITLES.values()))
    rows = [
        (
            str(layer.layer),
            str(layer.partner),
            str(len(layer.merges)),
            medians(layer),
            percent(layer.outside or 0.0),
            *(_share(layer.lost.get(name)) for name in TITLES),
        )
        for layer in merging
    ]
    lost = (_share(lost_everywhere(merging, name)) for name in TITLES)
    count = str(sum(len(layer.merges) for layer in merging))
    rows.append(("all", "", count, "", percent(everywhere(merging)), *lost))
    head = element("thead", element("tr", *(element("th", title, scope="col") for title in titles)))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    ]
    caption = element(
        "caption", f"Merges over {found.samples} texts, and the share they miss of what heads write"
    )
    return scrolling("Shares", element("table", caption, head, element("tbody", *body)))


def _share(value: float | None) -> str:
    return "\u2014" if value is None else percent(value)


def _charts(merging: Sequence[LayerMerges]) -> list[Markup]:
    axis = shares_axis(merging)
    stride = max(1, -(-len(merging) // _MOST_CHARTS))
    shown = merging[::-1][::stride][::-1]
    explained = (
        "The best share of the first head of each merge, before it is kept within 0 and 1 (dashed): the middle half of "
        "the texts as a box, 90 % as a line, dots for the ends. Of more than two heads, the shares of all."
    )
    if len(shown) < len(merging):
        explained += f" {len(shown)} of {len(merging)} layers; inspection.json has them all."
    charts = [merge_shares(layer, axis) for layer in shown]
    return [element("p", explained, class_="legend"), element("div", *charts, class_="charts")]


# --- maps ---------------------------------------------------------------------------------------------------------


def _pictures(sentence: Sentence) -> list[Markup]:
    last = sentence.first + len(sentence.tokens)
    where = (
        f"tokens {sentence.first + 1} to {last} of {sentence.length}"
        if len(sentence.tokens) < sentence.length
        else f"all {sentence.length} tokens"
    )
    before = " What lies before them is one column at the left edge." if sentence.first else ""
    legend = (
        f"{label(sentence.source, 60).capitalize()}, {where}.{before} A row looks at its columns; shades go by the "
        "root of the attention. KL is that of the student's map from the merged one, mean over the rows that count, in "
        "nats."
    )
    return [
        element("h3", "Teacher heads, what they are merged to, and the student's"),
        element("p", legend, class_="legend"),
        *(_layer(layer, sentence, number == 0) for number, layer in enumerate(sentence.layers)),
    ]


def _layer(layer: LayerPicture, sentence: Sentence, is_open: bool) -> Markup:
    known = [head.divergence for head in layer.heads if head.divergence is not None]
    mean = f": KL {fixed(sum(known) / len(known), 2)}" if known else ""
    summary = element("summary", f"Student layer {layer.layer}, teacher layer {layer.partner}{mean}")
    merged = [head for head in layer.heads if len(head.partners) > 1]
    alone = [head for head in layer.heads if len(head.partners) == 1]
    rows = [[head] for head in merged] + [alone[at : at + 2] for at in range(0, len(alone), 2)]
    maps = (element("div", *chain(*(_head(head, sentence) for head in row)), class_="maps") for row in rows)
    return element("details", summary, *maps, open="" if is_open else None)


def _head(head: HeadPicture, sentence: Sentence) -> list[Markup]:
    is_merged = len(head.partners) > 1

    def drawn(title: str, note: str, rows: Sequence[str]) -> Markup:
        return head_map(title, note, sentence.tokens, rows, sentence.first > 0)

    maps = [
        drawn(f"Teacher head {partner}", f"share {cosine(share)}" if is_merged else "alone", rows)
        for partner, share, rows in zip(head.partners, head.shares, head.teacher, strict=True)
    ]
    if is_merged:
        maps.append(drawn("Merged", " + ".join(map(str, head.partners)), head.merged))
    kl = "" if head.divergence is None else f"KL {fixed(head.divergence, 2)}"
    return [*maps, drawn(f"Student head {head.head}", kl, head.student)]
