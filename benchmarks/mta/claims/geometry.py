"""Relations between phrases: what their weights sum to, and whose they are."""

import numpy as np
import torch
from findings import Finding
from sra.texts import available, read
from torch import Tensor

from mta.claims.weights import of_response, states
from stillroom.alignment.spans import units_of
from stillroom.data.spans.textblob import TextBlob
from stillroom.objectives.span._pooling import masses
from stillroom.objectives.span._relations import relational

BATCH = 8


def findings() -> list[Finding]:
    made_up = [over_units()]
    return [*made_up, over_the_batch()] if available() else made_up


def phrase_masses() -> list[Tensor]:
    """Of the teacher's last layer: what every phrase of a response weighs, `[K]`, summing to one."""
    found = []
    cut = TextBlob().segment([text.response for text in read()])
    for text, spans, state in zip(read(), cut, states("teacher", 6), strict=True):
        ids = torch.from_numpy(units_of(np.array(text.ends), spans.phrases))[None]
        if len(spans.phrases):
            mass = masses(of_response(text, state)[None], ids, len(spans.phrases))[0]
            found.append(mass / mass.sum())
    return found


def over_units() -> Finding:
    rows = []
    for count in (2, 3, 5, 10, 20, 40):
        ours, theirs = torch.randn(1, count, 32), torch.randn(1, count, 32)
        equal = torch.ones(1, count)
        units, pairs = (relational(ours, theirs, equal, share).item() for share in ("units", "pairs"))
        rows.append(
            {"phrases": count, "equal weights: units / pairs": units / pairs, "1 - 1/K": 1 - 1 / count}
        )
    return Finding(
        "over units",
        "Weights of spans sum to one (Eqs 9 to 11)",
        "holds in part",
        "Then those of pairs i != j sum to 1 - sum w^2: a sample with two phrases counts at most half, with ten nine "
        "tenths. The program makes pairs sum to one. `share` is the choice, `pairs` unless said.",
        {"table": rows},
    )


def over_the_batch() -> Finding:
    found = phrase_masses()
    totals = [1 - mass.square().sum().item() for mass in found]
    shares = []
    for first in range(0, len(totals) - BATCH + 1, BATCH):
        some = totals[first : first + BATCH]
        shares += [BATCH * each / sum(some) for each in some]
    generator = torch.Generator().manual_seed(0)
    least = totals.index(min(totals))
    drawn = []
    for _ in range(200):
        others = torch.randint(len(totals), (BATCH - 1,), generator=generator).tolist()
        drawn.append(BATCH * totals[least] / (totals[least] + sum(totals[i] for i in others)))
    return Finding(
        "over the batch",
        "Relations are those of the spans of one sample",
        "holds in part",
        "In the program pairs of all samples of a batch sum to one together, so that a sample counts as 1 - "
        "sum w^2 of its own "
        f"beside the others': {min(shares):.2f} to {max(shares):.2f} of an equal share in batches of {BATCH}, "
        "and the one with the "
        f"fewest phrases ({len(found[least])}) {min(drawn):.2f} to {max(drawn):.2f} by who is beside it. Batch "
        "8 is not two of 4.",
        {"least": min(shares), "most": max(shares), "standard deviation": torch.tensor(shares).std().item()},
    )
