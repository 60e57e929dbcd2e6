"""The definition: logits in full, ordinary PyTorch."""

from torch import Tensor
from torch.nn import functional as F

from stillroom.kernels._projection import Projection


def plain(student: Projection, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted sum over rows of the cross-entropy on `targets [N]`, a scalar."""
    values = F.cross_entropy(student.logits(), targets, reduction="none")
    return values.sum() if weights is None else (weights * values).sum()
