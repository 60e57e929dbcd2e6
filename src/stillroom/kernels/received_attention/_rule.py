"""What a query sees and how a score becomes a logit: the settings that every engine shares."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """Logits are `scaling * query . key`, soft-capped if asked; query i sees key j if `i - window < j <= i`.

    `window` narrows a causal rule; without `is_causal` every query sees every key.
    """

    scaling: float
    is_causal: bool = True
    window: int | None = None
    softcap: float | None = None
