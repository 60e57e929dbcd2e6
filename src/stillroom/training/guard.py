"""Stops a run before a broken update, and names what broke."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


class NonFiniteLoss(RuntimeError):
    """A loss term or a gradient is NaN or infinite. The weights are those of the last good step."""


@dataclass
class StepWatch:
    """Keeps the terms of the micro-batches of one optimizer step until the step is about to be taken.

    Looking at them only then costs one synchronization a step instead of one per term and micro-batch.
    """

    seen: list[tuple[Mapping, dict[str, Tensor]]] = field(default_factory=list)

    def add(self, inputs: Mapping, totals: Mapping[str, Tensor]) -> None:
        self.seen.append((inputs, {key: total.detach() for key, total in totals.items()}))

    def clear(self) -> None:
        self.seen.clear()

    def is_finite(self) -> Tensor:
        """Scalar bool on the device of the totals: no synchronization yet."""
        totals = [total for _, terms in self.seen for total in terms.values()]
        return torch.stack(totals).isfinite().all() if totals else torch.ones((), dtype=torch.bool)

    def verdict(self, step: int, one_row: Callable[[Mapping, int], Mapping[str, Tensor]]) -> str:
        """A sentence that names the terms, and the samples found by running each row of the micro-batch alone."""
        for inputs, terms in self.seen:
            broken = [key for key, total in terms.items() if not total.isfinite()]
            if not broken:
                continue
            samples = inputs["sample_ids"].tolist()
            rows = [
                samples[row]
                for row in range(len(samples))
                if any(not one_row(inputs, row)[key].isfinite() for key in broken)
            ]
            return (
                f"step {step}: {_and(broken)} became {_value(terms[broken[0]])} on {_rows(rows or samples)}; "
                "the update was not made. Look at those samples and at the weights of both models; "
                "with float16, try bfloat16; otherwise lower the learning rate"
            )
        return (
            f"step {step}: the gradient is not finite although every loss term is; the update was not made. "
            "Lower the learning rate, or use bfloat16 or float32 instead of float16"
        )


def _value(total: Tensor) -> str:
    return "NaN" if total.isnan() else "infinite"


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def _rows(samples: Sequence[int]) -> str:
    listed = ", ".join(map(str, samples[:8])) + (", ..." if len(samples) > 8 else "")
    return f"training sample {listed}" if len(samples) == 1 else f"training samples {listed}"
