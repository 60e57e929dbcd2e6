"""The definition: logits in full, ordinary PyTorch."""

from torch import Tensor

from stillroom.kernels._projection import Projection


def plain(model: Projection, targets: Tensor) -> Tensor:
    """Log-probability of each row's target, `[N]`."""
    log_q = model.logits().log_softmax(dim=-1)
    return log_q.gather(1, targets.unsqueeze(1)).squeeze(1)
