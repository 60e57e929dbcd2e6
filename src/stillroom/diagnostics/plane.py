"""Many dimensions drawn in two: principal components, and t-SNE where scikit-learn is installed.

t-SNE shows neighborhoods; the distance between its clusters and their size mean nothing.

Paper:    van der Maaten & Hinton (2008), Visualizing Data using t-SNE
"""

import importlib.util

import torch
from torch import Tensor

NO_TSNE = "t-SNE is left out, scikit-learn is not installed: pip install 'stillroom[inspect]'"
PERPLEXITY = 30.0


def principal_components(points: Tensor) -> Tensor:
    """Coordinates `[N,2]` of `points [N,D]` along the two directions of largest variance.

    The largest entry of a direction is positive, so that the same points give the same picture.
    """
    centered = points.double() - points.double().mean(dim=0)
    _, _, directions = torch.linalg.svd(centered, full_matrices=False)
    wanted = torch.zeros(2, centered.shape[1], dtype=torch.float64)
    wanted[: min(2, len(directions))] = directions[:2]
    signs = wanted.gather(1, wanted.abs().argmax(dim=1, keepdim=True)).sign()
    return centered @ (wanted * torch.where(signs == 0, 1.0, signs)).T


def has_tsne() -> bool:
    return importlib.util.find_spec("sklearn") is not None


def tsne(points: Tensor, seed: int = 0) -> Tensor:
    """Coordinates `[N,2]` of `points [N,D]`. Needs scikit-learn and at least four points."""
    from sklearn.manifold import TSNE

    drawn = TSNE(
        n_components=2,
        perplexity=min(PERPLEXITY, (len(points) - 1) / 3),
        init="pca",
        learning_rate="auto",
        random_state=seed,
    ).fit_transform(points.double().numpy())
    return torch.from_numpy(drawn).double()
