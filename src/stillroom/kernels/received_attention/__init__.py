"""How much attention every key receives, without the S x S map."""

from stillroom.kernels.received_attention.door import received_attention

__all__ = ["received_attention"]
