"""Make a model ready for the signals that will be asked of it, and refuse by name what cannot be had.

Tiny forward passes on a padded probe decide, before any training: the attention function must be called once by
each layer and must leave the logits as they were, head(final hidden) must equal the model's logits, norm(last block)
must equal the final hidden states, and an output projection must read what the heads of its layer say and nothing else.
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stillroom.core.batch import Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import (
    FinalHidden,
    Head,
    NormedHidden,
    OutputProjection,
    QueryKey,
    ReceivedAttention,
    Request,
    TopTokens,
    Values,
)
from stillroom.taps.anatomy import attention_output, causal_lm, text_config
from stillroom.taps.attention import FROM_ATTENTION, NAME, Recorder, recording, register
from stillroom.taps.capture import capture, model_inputs
from stillroom.taps.eval_mode import eval_mode
from stillroom.taps.output_projection import output_projection
from stillroom.taps.received import reduced_with_output
from stillroom.taps.structure import check_layer_types, check_layers


def prepare(model: nn.Module, requests: Collection[Request]) -> None:
    """Check that `model` can answer `requests`, and select our attention function if attention is asked for.

    Call it on the whole model, before it is sharded or compiled. Our attention stands on SDPA and replaces
    what the model had, flash attention too. Raises `BadInput`; a refused model keeps what it had.
    """
    lm = causal_lm(model)
    check_layers(lm, requests)
    for request in requests:
        if isinstance(request, OutputProjection):
            output_projection(lm, request.layer)
    probe = _probe(lm)
    with eval_mode(lm):
        if any(isinstance(request, FROM_ATTENTION) for request in requests):
            _select_attention(lm, probe, requests)
        if any(isinstance(request, Head | FinalHidden | TopTokens) for request in requests):
            _check_head(lm, probe)
        if any(isinstance(request, NormedHidden) for request in requests):
            _check_norm(lm, probe)


def _select_attention(lm: PreTrainedModel, probe: Side, requests: Collection[Request]) -> None:
    """Select our attention function; the model must call it once a layer and say the same as before."""
    layers = {request.layer for request in requests if isinstance(request, FROM_ATTENTION)}
    check_layer_types(lm, layers)
    before = lm.config._attn_implementation
    expected = _logits(lm, probe)
    register()
    lm.set_attn_implementation(NAME)
    try:
        with recording(Recorder(requests, probe)) as recorder:
            tapped = _logits(lm, probe)
        _check_calls(lm, recorder, layers)
        _check_equal(lm, probe, tapped, expected, "computes other logits when its attention is recorded")
        both = [each for each in sorted(layers) if {Values(each), OutputProjection(each)} <= set(requests)]
        _check_projections(lm, probe, both)
    except BaseException:
        lm.set_attn_implementation(before)
        raise


def _check_calls(lm: PreTrainedModel, recorder: Recorder, layers: set[int]) -> None:
    depth = text_config(lm).num_hidden_layers
    if any(recorder.calls[layer] != 1 for layer in layers):
        raise BadInput(
            f"Expected one recorded attention call a layer, got {recorder.calls.total()} for {depth} layers: "
            f"models of type {lm.config.model_type!r} do not compute attention through transformers' "
            "attention registry, so that their queries, keys and values cannot be recorded; choose "
            "objectives on logits or hidden states."
        )


def _check_head(lm: PreTrainedModel, probe: Side) -> None:
    """The head that we hand out, applied to what the decoder alone says, must give the logits."""
    signals = capture(lm, probe, {FinalHidden(), Head()})
    rebuilt = signals[Head()](signals[FinalHidden()])
    _check_equal(lm, probe, rebuilt, _logits(lm, probe), "turns hidden states into logits in an unknown way")


def _check_norm(lm: PreTrainedModel, probe: Side) -> None:
    """The norm that we apply to layers must make of the last one what the decoder says."""
    last = NormedHidden(text_config(lm).num_hidden_layers)
    signals = capture(lm, probe, {FinalHidden(), last})
    fault = "has something else than a norm behind its last block"
    _check_equal(lm, probe, signals[last], signals[FinalHidden()], fault, "final hidden states")


def _check_projections(lm: PreTrainedModel, probe: Side, layers: Collection[int]) -> None:
    """The heads' maps times their values must be all that a projection reads: no gate or norm in between."""
    read: dict[int, Tensor] = {}
    handles = [attention_output(lm, each).register_forward_pre_hook(_keeper(read, each)) for each in layers]
    try:
        with torch.no_grad():
            signals = capture(lm, probe, {request(each) for each in layers for request in (QueryKey, Values)})
    finally:
        for handle in handles:
            handle.remove()
    for layer in layers:
        seen, value = signals[QueryKey(layer)], signals[Values(layer)]
        said, _ = reduced_with_output(ReceivedAttention(layer), seen, value, probe)
        fault = f"projects something else in layer {layer} than what its heads say"
        _check_equal(lm, probe, read[layer], said.flatten(2), fault, "inputs")


def _keeper(read: dict[int, Tensor], layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    return lambda module, args: read.__setitem__(layer, args[0])


def _logits(lm: PreTrainedModel, probe: Side) -> Tensor:
    return lm(**model_inputs(lm, probe)).logits


def _check_equal(
    lm: PreTrainedModel, probe: Side, got: Tensor, expected: Tensor, fault: str, what: str = "logits"
) -> None:
    """Equal on real tokens to half the digits of the precision: a lost mask is far above that."""
    real = probe.attention_mask.bool()
    got, expected = got[real], expected[real]
    if got.shape != expected.shape:
        raise BadInput(
            f"A model of type {lm.config.model_type!r} {fault} ({got.shape[-1]} {what} instead of "
            f"{expected.shape[-1]}): this family is not supported for these signals, choose objectives that "
            "read others."
        )
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * expected.float().abs().max()
    difference = (got.float() - expected.float()).abs().max()
    if not difference <= tolerance:
        raise BadInput(
            f"A model of type {lm.config.model_type!r} {fault} ({what} differ by {difference:.3g}): this "
            "family is not supported for these signals, choose objectives that read others."
        )


def _probe(lm: PreTrainedModel) -> Side:
    """Two rows of eight tokens, one padded on the left: a mask that is lost changes the logits."""
    device = lm.get_input_embeddings().weight.device
    rows = text_config(lm).vocab_size
    ids = (torch.arange(16, device=device).reshape(2, 8) * 7 + 5) % rows
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    return Side(ids, mask, mask.bool())
