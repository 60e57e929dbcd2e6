"""Where the state of a layer is read: that of the last block after the final norm, as the head reads it."""

from stillroom.core.signals import FinalHidden, Hidden, Request


def state(layer: int, depth: int) -> Request:
    """The request for the output of block `layer` in a model of `depth` blocks."""
    return FinalHidden() if layer == depth else Hidden(layer)
