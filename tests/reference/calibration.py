"""Expected calibration error in float64, from all tokens at once: bin, mean, compare."""

import math
from collections.abc import Sequence


def calibration_error(confidence: Sequence[float], is_right: Sequence[bool], bins: int = 15) -> float:
    error = 0.0
    for number in range(bins):
        last = number == bins - 1
        inside = [
            place
            for place, value in enumerate(confidence)
            if number / bins <= value and (value < (number + 1) / bins or last)
        ]
        if not inside:
            continue
        mean_confidence = math.fsum(confidence[place] for place in inside) / len(inside)
        accuracy = sum(is_right[place] for place in inside) / len(inside)
        error += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
    return error
