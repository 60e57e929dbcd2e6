"""How the units of a batch lie in its text: what objectives over units show beside their losses."""

from stillroom.core.batch import Side
from stillroom.objectives.span._units import Units


def coverage(units: Units, side: Side, kind: str) -> dict[str, float]:
    """Of the student's `side`: how many units a sequence has, how many tokens one has (where there is one), and which
    share of the trained tokens lies in one. `kind` names them."""
    sequences, trained = int(side.predicts.any(dim=1).sum()), int(side.response_mask.sum())
    many, inside = int(units.exists.sum()), int((units.student >= 0).sum())
    found = {
        f"{kind}_in_a_sequence": many / max(1, sequences),
        f"covered_by_{kind}": inside / max(1, trained),
    }
    return found | ({f"tokens_in_{kind}": inside / many} if many else {})
