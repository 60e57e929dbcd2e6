"""The silhouette with loops, from its definition."""

import math


def silhouette(points: list[list[float]], labels: list[int]) -> float:
    scores = []
    for i, point in enumerate(points):
        by_label: dict[int, list[float]] = {}
        for j, other in enumerate(points):
            if i != j:
                by_label.setdefault(labels[j], []).append(math.dist(point, other))
        means = {label: sum(each) / len(each) for label, each in by_label.items()}
        if labels[i] not in means:  # alone under its label
            scores.append(0.0)
            continue
        own = means.pop(labels[i])
        other = min(means.values())
        scores.append((other - own) / max(own, other) if max(own, other) > 0 else 0.0)
    return sum(scores) / len(scores)
