"""With which shares several attention heads become one, without any S x S map."""

from stillroom.kernels.squeeze_weights.door import MergeWeights, squeeze_weights
from stillroom.kernels.squeeze_weights.projection import narrow_projection

__all__ = ["MergeWeights", "narrow_projection", "squeeze_weights"]
