"""With which shares several attention heads become one, without any S x S map."""

from stillroom.kernels.squeeze_weights._merging import LARGEST_GROUP
from stillroom.kernels.squeeze_weights.door import MergeWeights, squeeze_weights
from stillroom.kernels.squeeze_weights.projection import narrow_projection

__all__ = ["LARGEST_GROUP", "MergeWeights", "narrow_projection", "squeeze_weights"]
