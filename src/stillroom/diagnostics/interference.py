"""Do the terms of a loss pull the student in one direction? Cosines of their gradients, pair by pair.

    g_i = gradient of  factor_i * total_i / count_i  with respect to the student's parameters, dropout off
    cos_ij = <g_i, g_j> / (|g_i| |g_j|)        opposition_ij = 1 - cos_ij

Over batches: mean and standard deviation, the share of batches with cos < 0, and the geometric mean of |g_i| / |g_j|.
The opposition is Definition 1 of SHARP under another name. Paper's own reading: 0 is little interference, 2 is much. By
that definition orthogonal gradients have 1, not 0: making aligned gradients orthogonal *raises* it.

Paper:    SHARP, Definition 1
Deviation: the paper differentiates by the projections of each granularity, which no two terms share, so that its
          gradients cannot meet; what can conflict are the student's parameters, and those are taken here.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.inspection import GradientPair, Gradients, Place
from stillroom.core.signals import Signals
from stillroom.diagnostics.parameter_groups import ALL, parameter_groups, trained_parameters
from stillroom.taps.eval_mode import eval_mode
from stillroom.training.pair import Pair

TINY = 1e-12
"""A gradient shorter than this has no direction, nor has one that is not finite: the pair goes without the batch."""

Inputs = Mapping[str, Tensor]
Ask = Callable[[Inputs], Signals]


def measure_gradients(
    pair: Pair,
    batches: Sequence[Inputs],
    ask_teacher: Ask,
    place: Place,
    progress: Callable[[int], None] = lambda done: None,
) -> Gradients:
    """Every pair of terms in every group of parameters, over `batches`. `progress` counts batches."""
    products = []
    with eval_mode(pair):
        for done, inputs in enumerate(batches, start=1):
            teacher = ask_teacher(inputs)
            with torch.enable_grad():
                products.append(gradient_products(pair, inputs, teacher))
            progress(done)
    stacked = torch.stack(products)
    terms = list(pair.factors())
    groups = {
        name: compare(terms, stacked[:, members].sum(dim=1))
        for name, members in parameter_groups(pair.student).items()
    }
    means = stacked.sum(dim=1).diagonal(dim1=1, dim2=2).clamp(min=0).sqrt().mean(dim=0).tolist()
    norms = [mean if math.isfinite(mean) else None for mean in means]
    return Gradients(place, dict(zip(terms, norms, strict=True)), groups)


def gradient_products(pair: Pair, inputs: Inputs, teacher: Signals) -> Tensor:
    """Inner products of the terms' gradients in every trained parameter, `[parameters, terms, terms]`, float64.

    One set of gradients per term lives at a time, and no flat vector of all parameters.
    """
    counts, factors = pair.counts(Batch.from_inputs(inputs)), pair.factors()
    totals = pair(inputs, teacher)
    trained = list(trained_parameters(pair.student).values())
    gradients = []
    for term, factor in factors.items():
        loss = factor * totals[term] / counts[term].clamp(min=1)
        if loss.requires_grad:
            gradients.append(torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True))
        else:
            gradients.append((None,) * len(trained))
    return torch.stack([_products(each) for each in zip(*gradients, strict=True)]).cpu()


def _products(gradients: Sequence[Tensor | None]) -> Tensor:
    """Of one parameter: what does not reach it has a gradient of zero there."""
    reached = [index for index, gradient in enumerate(gradients) if gradient is not None]
    products = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    if reached:
        rows = torch.stack([gradients[index].flatten().float() for index in reached])  # type: ignore[union-attr]
        products[torch.tensor(reached)[:, None], torch.tensor(reached)] = (rows @ rows.T).double().cpu()
    return products


def compare(terms: Sequence[str], products: Tensor) -> list[GradientPair]:
    """Statistics of every pair from inner products `[batches, terms, terms]`."""
    norms = products.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    pairs = []
    for i, first in enumerate(terms):
        for j in range(i + 1, len(terms)):
            kept = ((norms > TINY) & norms.isfinite())[:, [i, j]].all(dim=1)
            ours, theirs = norms[kept, i], norms[kept, j]
            cosines = (products[kept, i, j] / (ours * theirs)).clamp(-1, 1)
            pairs.append(_pair(first, terms[j], cosines, (ours / theirs).log()))
    return pairs


def _pair(first: str, second: str, cosines: Tensor, log_ratios: Tensor) -> GradientPair:
    count = len(cosines)
    if count == 0:
        return GradientPair(first, second, 0)
    mean = float(cosines.mean())
    return GradientPair(
        first,
        second,
        count,
        cosine=mean,
        cosine_sd=float(cosines.std()) if count > 1 else None,
        absolute_cosine=float(cosines.abs().mean()),
        opposition=1 - mean,
        conflict_rate=float((cosines < 0).double().mean()),
        norm_ratio=float(log_ratios.mean().exp()),
    )


def unheard(places: Sequence[Gradients]) -> list[str]:
    """A sentence for every term whose gradient has no direction somewhere: it does not reach the student."""
    silent: dict[str, list[str]] = {}
    for each in places:
        for term, norm in each.norms.items():
            if norm is not None and norm <= TINY:
                silent.setdefault(term, []).append(each.place.name)
    return [
        f"{term} has no gradient in the student ({', '.join(names)}), and its pairs are left out: its weight is zero, "
        "or it does not depend on the student."
        for term, names in silent.items()
    ]


def skipped(gradients: Gradients, batches: int) -> list[str]:
    """A sentence where only some batches of a pair had a direction."""
    return [
        f"{pair.first} and {pair.second} at {gradients.place.name}: {batches - pair.batches} of {batches} batches "
        "are left out, a gradient was zero or not finite."
        for pair in gradients.groups[ALL]
        if 0 < pair.batches < batches
    ]
