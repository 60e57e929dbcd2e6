"""What the JSON file of a comparison holds, made without a run."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

SEEDS = (10, 11, 12, 13, 14)


def run(seed: int, loss: float, **more: Any) -> dict[str, Any]:
    curve = [
        {"step": step, "tokens": 1000 * step + seed, "seconds": 2.0 * step, "loss": loss + 1 / step}
        for step in (10, 20, 30)
    ]
    costs = {"steps": 30, "tokens": 30_000, "seconds": 60.0, "tokens_per_second": 500.0}
    row = {"seed": seed, "loss": loss, "perplexity": 2.718281828**loss, **costs}
    return row | {"peak_memory_bytes": 2**30, "measures": {}, "curve": curve, "tests": {}} | more


def comparison(losses: Mapping[str, Sequence[float]], against: str, **more: Any) -> dict[str, Any]:
    """Held-out losses by variant, one for each of the first `SEEDS`."""
    variants = {}
    for place, (name, values) in enumerate(losses.items()):
        runs = [run(seed, loss) for seed, loss in zip(SEEDS, values, strict=False)]
        mean = {"loss": sum(values) / max(1, len(values)), "tokens": 30_000.0, "seconds": 60.0 + 30 * place}
        mean |= {"tokens_per_second": 500.0, "peak_memory_bytes": 2.0**30 * (1 + place)}
        variants[name] = {"mean": mean, "learning_rate": 0.001, "to_target": [], "measures": {}, "runs": runs}
    marks = {"teacher": {"loss": 2.0}, "student before training": {"loss": 9.0}}
    most = max((len(values) for values in losses.values()), default=0)
    content = {"name": "tried", "about": "Which one?", "against": against, "seeds": list(SEEDS[:most])}
    return content | {"marks": marks, "variants": variants, "cautions": [], "failed": {}} | more


def noisy(offsets: Mapping[str, float], noise: float = 0.01, seeds: int = 5) -> dict[str, list[float]]:
    """Losses that share the luck of their seed; their mean over the seeds is 5 and their offset, to rounding."""
    chance = random.Random(7)
    luck = _centered(chance, 0.1, seeds)
    return {
        name: [
            5 + offset + shared + own
            for shared, own in zip(luck, _centered(chance, noise, seeds), strict=True)
        ]
        for name, offset in offsets.items()
    }


def _centered(chance: random.Random, spread: float, count: int) -> list[float]:
    values = [chance.gauss(0, spread) for _ in range(count)]
    return [value - sum(values) / count for value in values]
