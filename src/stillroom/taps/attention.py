"""An attention function that shows queries, keys and values of chosen layers, and changes nothing else.

It stands on the library's SDPA function and is registered, with a mask function of the same name, for every
model that asks the registry: no family is patched. Without the mask function the library would drop the
padding mask in silence. Gemma 2 soft-caps its scores, which SDPA cannot: softmax(cap * tanh(scores / cap)) is
computed here in blocks of queries. Attention sinks (gpt-oss) and position biases (T5) are refused by name.

What is seen is stored by layer, so that a second call overwrites the first, and only while a `Recorder` is
active: the recomputation of gradient checkpointing happens after that and stores nothing.

On a CPU received attention comes from the pass that computes the layer's output: the map is computed once for both.
It is a pass of its own beside SDPA on other devices, with attention dropout, and where the mask is not just causal
with a window and padding; then it is reduced on the spot where no gradient is wanted, else at the end of the forward
pass. Checkpointed layers always wait for that end: they must compute the same when they are run again. What the last
token alone looks at is one query beside SDPA, never a reason for a pass over all of them.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from stillroom.core.batch import Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import QueryKey, QueryKeys, ReceivedAttention, Request, Values
from stillroom.taps.received import is_plain, reduced, reduced_with_output

NAME = "stillroom"
QUERY_BLOCK = 256

FROM_ATTENTION = (QueryKey, Values, ReceivedAttention)
"""Requests that are answered inside the attention function."""


class Recorder:
    """Answers to what is asked of attention in one forward pass over `side`, and how often each layer was seen.

    `reruns` says that layers will be run again for their gradients, without this recorder.
    """

    def __init__(
        self, requests: Collection[Request], side: Side | None = None, *, reruns: bool = False
    ) -> None:
        self.wanted = frozenset(requests)
        self.side = side
        self.answers: dict[Request, Any] = {}
        self.calls: Counter[int] = Counter()
        self.reruns = reruns
        self.wants_gradient = torch.is_grad_enabled()
        self._unreduced: dict[ReceivedAttention, QueryKeys] = {}
        self._plain: dict[tuple[int, int | None], tuple[Tensor | None, bool]] = {}

    def see(self, layer: int, seen: QueryKeys, value: Tensor) -> None:
        """Keep what is asked about a layer."""
        self.calls[layer] += 1
        for request in self.wanted:
            if not isinstance(request, FROM_ATTENTION) or request.layer != layer:
                continue
            self.check_gradient()
            match request:
                case QueryKey():
                    self.answers[request] = seen
                case Values():
                    self.answers[request] = value
                case ReceivedAttention():
                    self._unreduced[request] = seen

    def output(self, layer: int, seen: QueryKeys, value: Tensor, mask: Tensor | None) -> Tensor | None:
        """Output `[B,S,H,e]` of a layer if it falls out of the pass that answers a request, else None."""
        passes = (each for each in self._unreduced if each.layer == layer and each.rows != "last")
        request = min(passes, default=None, key=repr)
        if request is None or self.reruns or value.device.type != "cpu" or not self._is_plain(mask, seen):
            return None
        assert self.side is not None, "received attention needs the text that it is averaged over"
        output, self.answers[request] = reduced_with_output(request, seen, value, self.side)
        del self._unreduced[request]
        return output

    def _is_plain(self, mask: Tensor | None, seen: QueryKeys) -> bool:
        """Looked at once for all layers that share a mask, which is kept so that its id stays its own."""
        key = id(mask), seen.window
        if key not in self._plain:
            assert self.side is not None, "received attention needs the text that it is averaged over"
            self._plain[key] = mask, is_plain(mask, self.side, seen.window)
        return self._plain[key][1]

    def reduce(self) -> None:
        """Answer what has been asked of received attention and seen so far."""
        for request, seen in self._unreduced.items():
            assert self.side is not None, "received attention needs the text that it is averaged over"
            self.answers[request] = reduced(request, seen, self.side)
        self._unreduced.clear()

    def check_gradient(self) -> None:
        """Reentrant checkpointing runs layers without a graph: a loss on what they show is constant."""
        if self.wants_gradient and not torch.is_grad_enabled():
            raise BadInput(
                "Expected non-reentrant gradient checkpointing, because the reentrant kind detaches what is "
                "recorded inside a layer: set gradient_checkpointing_kwargs to {'use_reentrant': False}."
            )


_active: ContextVar[Recorder | None] = ContextVar("stillroom_recorder", default=None)


@contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """While open, attention functions of this thread show their inputs to `recorder`."""
    token = _active.set(recorder)
    try:
        yield recorder
    finally:
        _active.reset(token)


def register() -> None:
    """Make the name known to transformers, for attention and for masks. Calling it again changes nothing."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **extras: Any,
) -> tuple[Tensor, None]:
    """Query `[B,H,S,d]`, key `[B,G,S,d]` and value `[B,G,S,e]` to `[B,S,H,e]`, as transformers calls it.

    `extras` is what models hand to every implementation; SDPA reads of it what it knows. A keyword that
    changes the result and is known to neither shows in the comparison that `prepare` makes.
    """
    for name, given in (("attention sinks", s_aux), ("a position bias", position_bias)):
        if given is not None:
            raise BadInput(
                f"{type(module).__name__} uses {name}, which cannot be recorded: choose other signals."
            )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    recorder, output = _active.get(), None
    if recorder is not None:
        seen, layer = QueryKeys(query, key, scaling, softcap, sliding_window or None), _layer(module)
        recorder.see(layer, seen, value)
        if dropout == 0.0 and (attention_mask is not None or _is_causal(module, extras)):
            output = recorder.output(layer, seen, value, attention_mask)
        if not recorder.wants_gradient:
            recorder.reduce()
    if output is not None:
        return output, None
    if softcap is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **extras
        )
    return _softcapped(query, key, value, attention_mask, scaling, dropout, softcap), None


def _layer(module: nn.Module) -> int:
    index = module.layer_idx
    assert isinstance(index, int)
    return index + 1


def _is_causal(module: nn.Module, extras: dict[str, Any]) -> bool:
    """What SDPA takes the absence of a mask for."""
    given = extras.get("is_causal")
    return getattr(module, "is_causal", True) if given is None else given


def _softcapped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    dropout: float,
    softcap: float,
) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    rows, keys = query.shape[2], key.shape[2]
    # no mask means causal from the first key on, except for the one query of a decoding step, which sees all
    offset = keys - 1 if rows == 1 else 0
    # several blocks with a graph would together keep the S x S weights that one block avoids
    recompute = rows > QUERY_BLOCK and torch.is_grad_enabled()
    outputs = []
    for start in range(0, rows, QUERY_BLOCK):
        part = query[:, :, start : start + QUERY_BLOCK]
        if mask is None:
            hidden = _future(part.shape[2], keys, start + offset, key.device)
        else:
            hidden = ~mask[:, :, start : start + QUERY_BLOCK]
        arguments = (part, key, value, hidden, scaling, dropout, softcap)
        outputs.append(
            checkpoint(_attend, *arguments, use_reentrant=False) if recompute else _attend(*arguments)
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


def _attend(
    query: Tensor, key: Tensor, value: Tensor, hidden: Tensor, scaling: float, dropout: float, softcap: float
) -> Tensor:
    scores = torch.tanh(query @ key.transpose(2, 3) * scaling / softcap) * softcap
    # the smallest number, not minus infinity: a row of padding becomes uniform instead of NaN
    scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.dropout(weights, dropout, train=dropout > 0) @ value


def _future(rows: int, keys: int, offset: int, device: torch.device) -> Tensor:
    at = torch.arange(rows, device=device)[:, None] + offset
    return torch.arange(keys, device=device)[None, :] > at
