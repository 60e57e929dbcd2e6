"""How far a student's attention maps are from merged maps of its teacher, without any map."""

from stillroom.kernels.squeezed_kl.door import squeezed_kl

__all__ = ["squeezed_kl"]
