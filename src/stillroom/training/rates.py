"""Learning rates of their own for what objectives train: parameter groups behind those of the student.

A schedule scales the rate that each group begins with, so that all of them rise and fall together. The student's groups
come first, because the rate that is logged is that of the first.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import TrainingArguments

    from stillroom.training.pair import Pair

Groups = list[dict[str, Any]]


def by_decay(pair: "Pair", decaying: Sequence[str], arguments: "TrainingArguments") -> Groups:
    """What is trained, with weight decay and without, as transformers groups it; `decaying` are names in `pair`."""
    groups: Groups = [
        {"params": [], "weight_decay": arguments.weight_decay},
        {"params": [], "weight_decay": 0.0},
    ]
    decays = set(decaying)
    for name, each in pair.named_parameters():
        if each.requires_grad:
            groups[0 if name in decays else 1]["params"].append(each)
    return groups


def apart(groups: Groups, pair: "Pair") -> Groups:
    """`groups` without the parameters that have a rate of their own, and after them groups of these.

    A new group has all that its parameters' group had, such as weight decay, and the rate as its `lr`.
    """
    rates = pair.own_rates()
    own = {id(each): rates[name] for name, each in pair.named_parameters() if name in rates}
    kept: Groups = []
    separate: Groups = []
    for group in groups:
        by_rate: dict[float | None, list[nn.Parameter]] = defaultdict(list)
        for each in group["params"]:
            by_rate[own.get(id(each))].append(each)
        kept.append({**group, "params": by_rate.pop(None, [])})
        separate += [{**group, "params": each, "lr": rate} for rate, each in by_rate.items()]
    return [group for group in kept if group["params"]] + separate
