"""One forward pass of a causal language model that keeps what was asked for, and nothing else.

Without `Logits` the head never runs. Hidden states come from hooks on the blocks and not from
`output_hidden_states`, whose last entry is taken after the final norm. Positions are counted along the
attention mask, so that padding on the left and on the right gives the same answers on real tokens.
"""

import inspect
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stillroom.core.batch import Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import (
    Embedding,
    FinalHidden,
    Head,
    Hidden,
    Logits,
    NormedHidden,
    OutputProjection,
    Request,
    Signals,
    TopTokens,
)
from stillroom.taps.anatomy import blocks, causal_lm, decoder, final_norm, first
from stillroom.taps.attention import Recorder, recording
from stillroom.taps.head import embedding_weight, head_weights
from stillroom.taps.output_projection import output_projection
from stillroom.taps.top_tokens import top_tokens

FROM_WEIGHTS = (Head, Embedding, OutputProjection)
"""Requests that need no forward pass."""


def capture(
    model: nn.Module,
    side: Side,
    requests: Collection[Request],
    *,
    vocab_size: int | None = None,
    owner: str = "model",
) -> Signals:
    """Answer `requests` about the text of `side`.

    Gradient flows where it is enabled. Head, embedding and logits are trimmed to `vocab_size` rows.
    What is asked of attention needs a model that `stillroom.taps.prepare.prepare` was called on. `owner` names
    the model in messages.
    """
    lm = causal_lm(model)
    recorder = Recorder({*requests, *_needs(requests)}, side, reruns=_reruns(lm))
    answers = recorder.answers
    if any(not isinstance(request, FROM_WEIGHTS) for request in recorder.wanted):
        with recording(recorder), _hooks(lm, recorder):
            target = lm if Logits() in recorder.wanted else decoder(lm)
            output = target(**model_inputs(target, side))
        recorder.reduce()
        if Logits() in recorder.wanted:
            answers[Logits()] = _trimmed(output.logits, vocab_size)
    if Head() in recorder.wanted:
        answers[Head()] = head_weights(lm, vocab_size)
    if Embedding() in recorder.wanted:
        answers[Embedding()] = embedding_weight(lm, vocab_size)
    for request in requests:
        match request:
            case TopTokens():
                answers[request] = top_tokens(request, answers[FinalHidden()], answers[Head()], side)
            case OutputProjection(layer):
                answers[request] = output_projection(lm, layer)
            case NormedHidden(layer):
                # not in a hook: a checkpointed layer would save what it does not save when it is run again
                answers[request] = final_norm(lm)(answers[Hidden(layer)])
    missing = [request for request in requests if request not in answers]
    if missing:
        raise BadInput(
            f"The {owner} ({lm.config.model_type}) gave no answer to {sorted(map(repr, missing))}: call "
            "prepare() with these requests first, which says why if this family cannot answer them."
        )
    return Signals({request: answers[request] for request in requests}, owner)


def _needs(requests: Collection[Request]) -> set[Request]:
    """What is recorded to answer other requests, and not handed out itself."""
    needed: set[Request] = {Hidden(each.layer) for each in requests if isinstance(each, NormedHidden)}
    if any(isinstance(each, TopTokens) for each in requests):
        needed |= {FinalHidden(), Head()}
    return needed


def _reruns(lm: PreTrainedModel) -> bool:
    """Whether gradient checkpointing will run layers again in the backward pass."""
    return torch.is_grad_enabled() and any(
        module.training and getattr(module, "gradient_checkpointing", False) for module in lm.modules()
    )


def model_inputs(module: nn.Module, side: Side) -> dict[str, Any]:
    """Keyword arguments for one training forward pass of a language model or its decoder over `side`."""
    inputs = {"input_ids": side.input_ids, "attention_mask": side.attention_mask, "use_cache": False}
    if "position_ids" in inspect.signature(type(module).forward).parameters:
        inputs["position_ids"] = positions(side.attention_mask)
    return inputs


def positions(attention_mask: Tensor) -> Tensor:
    """Each token's position among the real tokens of its row, `[B,S]`, from zero."""
    return (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)


@contextmanager
def _hooks(lm: PreTrainedModel, recorder: Recorder) -> Iterator[None]:
    """Hooks on the decoder and on the asked blocks, removed before any backward pass can run them again."""
    handles = []
    layers = [request.layer for request in recorder.wanted if isinstance(request, Hidden)]
    stack = blocks(lm) if layers else nn.ModuleList()

    def keep(request: Request, hidden: Tensor) -> None:
        recorder.check_gradient()
        recorder.answers[request] = hidden

    def at_output(layer: int) -> Any:
        return lambda module, args, output: keep(Hidden(layer), first(output))

    try:
        if FinalHidden() in recorder.wanted:
            handles.append(
                decoder(lm).register_forward_hook(
                    lambda module, args, output: keep(FinalHidden(), output.last_hidden_state)
                )
            )
        for layer in layers:
            if layer == 0:
                hook = stack[0].register_forward_pre_hook(
                    lambda module, args, kwargs: keep(
                        Hidden(0), args[0] if args else kwargs["hidden_states"]
                    ),
                    with_kwargs=True,
                )
            else:
                hook = stack[layer - 1].register_forward_hook(at_output(layer))
            handles.append(hook)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _trimmed(logits: Tensor, vocab_size: int | None) -> Tensor:
    if vocab_size is not None and vocab_size > logits.shape[-1]:
        raise BadInput(
            f"Expected at least {vocab_size} logits, the shared vocabulary, but the model has "
            f"{logits.shape[-1]}: compare the vocabularies of student and teacher."
        )
    return logits if vocab_size is None else logits[..., :vocab_size]
