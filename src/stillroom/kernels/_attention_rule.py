"""What a query sees and how a score becomes a logit: the settings that every engine shares."""

from dataclasses import dataclass

from stillroom.core.errors import BadInput


@dataclass(frozen=True)
class Rule:
    """Logits are `scaling * query . key`, soft-capped if asked; query i sees key j if `i - window < j <= i`.

    `window` narrows a causal rule; without `is_causal` every query sees every key. Raises `BadInput`.
    """

    scaling: float
    is_causal: bool = True
    window: int | None = None
    softcap: float | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise BadInput(
                f"expected a window of at least 1 (a query sees itself), got {self.window}; None means no window."
            )
        if self.window is not None and not self.is_causal:
            raise BadInput(
                f"expected is_causal with a window, got is_causal=False and window={self.window}; drop the window."
            )
        if self.softcap is not None and not self.softcap > 0:
            raise BadInput(f"expected a positive softcap, got {self.softcap}; None means no cap.")
