"""Attention and how much of it every key receives, in one pass."""

from stillroom.kernels.attention_and_received.door import attention_and_received

__all__ = ["attention_and_received"]
