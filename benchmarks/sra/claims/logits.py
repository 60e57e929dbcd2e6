"""What the head says of a center of mass: two small trained models with one vocabulary on responses of Dolly."""

from collections.abc import Callable
from itertools import pairwise
from statistics import mean
from typing import NamedTuple

import numpy as np
import torch
from findings import Finding
from torch import Tensor
from transformers import PreTrainedModel

from sra.claims.spans import exact_cuts, tokens
from sra.texts import Read, available, pair, read, samples
from stillroom.alignment.spans import units_of
from stillroom.data.spans.windows import Windows
from stillroom.objectives.span._pooling import pool

TEMPERATURE = 2.0


class Said(NamedTuple):
    """Log-probabilities `[K,V]` of the head of one model over the units of a response, and what followed them."""

    pooled: Tensor
    last: Tensor
    """At the last token of each unit."""
    mean: Tensor
    """Log of the mean probabilities at the tokens of each unit."""
    sizes: Tensor
    after: Tensor
    """The token behind each unit, -1 at the end."""


def findings() -> list[Finding]:
    if not available():
        return []
    return [one_token(), several_tokens(), before_the_norm(), summed()]


@torch.no_grad()
def said(model: PreTrainedModel, temperature: float, units: Callable[[Read], Tensor], row: int) -> Said:
    """Of one response cut into units; every token of one weighs the same."""
    text = read()[row]
    states = model(text.ids[None], output_hidden_states=True).hidden_states[-1][:, text.first :]
    ids = units(text)[None]
    count = int(ids.max()) + 1
    centers = pool(states, torch.ones(ids.shape), ids, count).centers[0]
    inside = ids[0] >= 0
    own = (model.lm_head(states[0]) / temperature).log_softmax(-1)
    sizes = torch.bincount(ids[0][inside], minlength=count)
    summed = torch.zeros(count, own.shape[1]).index_add(0, ids[0][inside], own[inside].exp())
    place = torch.zeros(count, dtype=torch.long).scatter_reduce(
        0, ids[0][inside], torch.where(inside)[0], "amax", include_self=False
    )
    following = torch.cat([text.ids[text.first + 1 :], torch.tensor([-1])])
    pooled = (model.lm_head(centers) / temperature).log_softmax(-1)
    return Said(pooled, own[place], (summed / sizes[:, None]).log(), sizes, following[place])


def tokens_alone(text: Read) -> Tensor:
    return torch.arange(len(text.ends))


def words(text: Read) -> Tensor:
    return torch.from_numpy(units_of(np.array(text.ends), Windows().segment([text.response])[0].words))


def phrases(text: Read) -> Tensor:
    return torch.from_numpy(units_of(np.array(text.ends), Windows().segment([text.response])[0].phrases))


def kl(first: Tensor, second: Tensor) -> Tensor:
    """`[K]` nats."""
    return (first.exp() * (first - second)).sum(-1)


def one_token() -> Finding:
    """The term of SRA over spans of one token, and KL at every token, both at its temperature."""
    apart = []
    for row in range(8):
        theirs, ours = (
            said(model, TEMPERATURE, tokens_alone, row) for model in (pair().teacher, pair().student)
        )
        apart.append((kl(theirs.pooled, ours.pooled) - kl(theirs.last, ours.last)).abs().max().item())
    shares = []
    for sample in samples():
        ours, theirs = tokens("gpt2", sample.response)[1], tokens("qwen1.5", sample.response)[1]
        cuts = [(0, 0), *exact_cuts(ours, theirs)]
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(cuts)]
        shares += [step == (1, 1) for step in steps]
    return Finding(
        "one token",
        "Aligned span logit distillation enhances knowledge transfer (abstract)",
        "holds in part",
        "The center of a span of one token is its state, and what the head says of it is the next-token distribution "
        f"there, to {max(apart):.0e} nats: for {mean(shares):.0%} of the spans of the paper's first pair the "
        "term is KL over "
        "shared tokens behind a shared boundary (`vocabulary.shared_kl`, `rest: renormalize`), without the first "
        "token of the response, whose prediction stands at the prompt.",
        {"largest difference": max(apart), "share of the spans": mean(shares)},
    )


def several_tokens() -> Finding:
    rows = []
    for name, units in (("words", words), ("phrases of three words", phrases)):
        for model in ("teacher", "student"):
            parts = [said(getattr(pair(), model), 1.0, units, row) for row in range(24)]
            long = [_take(each, (each.sizes >= 2) & (each.after >= 0)) for each in parts]
            pooled, last, means, sizes, after = (torch.cat(each) for each in zip(*long, strict=True))
            rows.append(
                {
                    "units of two and more tokens": name,
                    "model": model,
                    "units": len(sizes),
                    "KL from the mean of its tokens": kl(means, pooled).mean().item(),
                    "KL from its last token": kl(last, pooled).mean().item(),
                    "loss of the token behind it": -pooled.gather(1, after[:, None]).mean().item(),
                    "the same at the last token": -last.gather(1, after[:, None]).mean().item(),
                    "top token is the last token's": (pooled.argmax(1) == last.argmax(1))
                    .float()
                    .mean()
                    .item(),
                }
            )
    return Finding(
        "several tokens",
        "The logits of a span are what the head says of its center of mass",
        "holds in part",
        f"That is no distribution the model was trained to give. Over words of two and more tokens it is "
        f"{rows[0]['KL from its last token']:.1f} nats from the teacher's next-token distribution behind the "
        "word and "
        f"{rows[0]['KL from the mean of its tokens']:.1f} from the mean of those at its tokens; the token that "
        "follows costs "
        f"{rows[0]['loss of the token behind it']:.1f} nats instead of {rows[0]['the same at the last token']:.1f}.",
        {"table": rows},
    )


def _take(each: Said, chosen: Tensor) -> Said:
    return Said(*(part[chosen] for part in each))


@torch.no_grad()
def before_the_norm() -> Finding:
    """What the program compares: the student's last block without the final norm, through its head."""
    found: dict[str, list[float]] = {"distance": [], "loss": [], "normed": []}
    student = pair().student
    for text in read()[:24]:
        kept: list[Tensor] = []
        hook = student.model.norm.register_forward_hook(
            lambda _, inputs, __, kept=kept: kept.append(inputs[0])
        )
        normed = student(text.ids[None]).logits[0, text.first : -1].log_softmax(-1)
        hook.remove()
        raw = student.lm_head(kept[0][0, text.first : -1]).log_softmax(-1)
        after = text.ids[text.first + 1 :, None]
        found["distance"].append(kl(normed, raw).mean().item())
        found["loss"].append(-raw.gather(1, after).mean().item())
        found["normed"].append(-normed.gather(1, after).mean().item())
    apart, loss, normed = (mean(found[name]) for name in ("distance", "loss", "normed"))
    return Finding(
        "before the norm",
        "Heads are applied to the last states of both models",
        "holds in part",
        "In the program the student's are those before its final norm, the teacher's those behind it. For a "
        "small Llama "
        f"the student's head then says something {apart:.2f} nats away from what the model says, and its text costs "
        f"{loss:.2f} nats a token instead of {normed:.2f}: what is trained is not what will be used. Here both "
        "are behind the norm "
        "(`norm: teacher` is the program's).",
        {"KL": apart, "loss before": loss, "loss behind": normed},
    )


def summed() -> Finding:
    counts = [
        len(exact_cuts(tokens("gpt2", each.response)[1], tokens("qwen1.5", each.response)[1]))
        for each in samples()
    ]
    ordered = sorted(counts)
    low, high = ordered[len(ordered) // 10], ordered[-len(ordered) // 10]
    return Finding(
        "sum over spans",
        "L = a CE + (1 - a)(L_cos + 50 L_geo + L_KD), a = 0.5",
        "holds in part",
        f"CE is a mean over tokens and L_KD a sum over the spans of a response: {mean(counts):.0f} of them on "
        "average, "
        f"{low} or fewer in a tenth of the responses and {high} or more in another. Against a mean over spans "
        "L_KD weighs "
        f"{mean(counts):.0f}, hard labels count one part in {1 + mean(counts):.0f}, and a long response more "
        "than a short one.",
        {"mean": mean(counts), "lowest tenth": low, "highest tenth": high},
    )
