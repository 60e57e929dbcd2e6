"""SHARP's working mode, in plain loops and float64, from maps of attention to the loss of every granularity."""

import math

import torch
from torch import Tensor


def received(attention: Tensor, mask: Tensor) -> Tensor:
    """Maps `[L,H,S,S]` of one sample and its mask `[S]` to attention received by its real tokens, `[L,H,n]`."""
    layers, heads, length, _ = attention.shape
    real = [i for i in range(length) if mask[i]]
    found = torch.zeros(layers, heads, len(real), dtype=torch.float64)
    for layer in range(layers):
        for head in range(heads):
            for at, j in enumerate(real):
                found[layer, head, at] = sum(float(attention[layer, head, i, j]) for i in real) / len(real)
    return found


def profile(length: int) -> list[float]:
    """Attention that each of `length` tokens receives when every query looks at all that it sees alike."""
    return [sum(1 / (i + 1) for i in range(j, length)) / length for j in range(length)]


def granularities(pooled: Tensor) -> dict[str, list[list[float]]]:
    """`[L,H,n]` to the maps of token (one), head (H) and layer (L)."""
    layers, heads, length = pooled.shape

    def mean(pairs: list[tuple[int, int]]) -> list[float]:
        return [sum(float(pooled[pair][j]) for pair in pairs) / len(pairs) for j in range(length)]

    return {
        "token": [mean([(layer, head) for layer in range(layers) for head in range(heads)])],
        "head": [mean([(layer, head) for layer in range(layers)]) for head in range(heads)],
        "layer": [mean([(layer, head) for head in range(heads)]) for layer in range(layers)],
    }


def features(
    maps: list[list[float]], frequency: Tensor, phase: Tensor, centering: str = "difference"
) -> list[float]:
    """H^g: the mean over the maps of gelu(layer norm(cosine features of the maps relative to the profile))."""
    width = len(frequency)
    total = [0.0] * width
    for values in maps:
        uniform = profile(len(values))
        if centering == "log_ratio":
            relative = [math.log(value / u + 1e-6) for value, u in zip(values, uniform, strict=True)]
        else:
            relative = [value - u for value, u in zip(values, uniform, strict=True)]
        hidden = [
            sum(
                each * math.sqrt(2 / width) * math.cos(position * float(frequency[k]) + float(phase[k]))
                for position, each in enumerate(relative)
            )
            for k in range(width)
        ]
        middle = sum(hidden) / width
        spread = math.sqrt(sum((each - middle) ** 2 for each in hidden) / width + 1e-5)
        for k in range(width):
            z = (hidden[k] - middle) / spread
            gelu = z * 0.5 * (1 + math.erf(z / math.sqrt(2)))
            total[k] += (gelu - 1 / (2 * math.sqrt(math.pi))) / len(maps)
    return total


def cosine_distance(student: list[float], teacher: list[float], frame: Tensor) -> float:
    """1 - cos of both after projection by `frame [D,d]`."""

    def project(hidden: list[float]) -> list[float]:
        return [sum(h * float(frame[k, a]) for k, h in enumerate(hidden)) for a in range(frame.shape[1])]

    z_s, z_t = project(student), project(teacher)
    dot = sum(a * b for a, b in zip(z_s, z_t, strict=True))
    return 1 - dot / (math.sqrt(sum(a * a for a in z_s)) * math.sqrt(sum(b * b for b in z_t)))
