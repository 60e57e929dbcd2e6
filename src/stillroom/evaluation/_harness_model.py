"""A loaded model as the harness sees it: it counts what is done, and the prompts that did not fit.

The one module that imports lm-eval at its top; import it only where lm-eval is known to be there.
"""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Pair = tuple[tuple[str, str], list[int], list[int]]
"""Texts of context and continuation, and the ids of each."""


class HarnessModel(HFLM):
    """The harness' own wrapper around transformers; the tokenizer is a copy, for it is given a padding token."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        batch_size: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        super().__init__(pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size)
        self.prompts = 0
        self.cut = 0
        """Prompts whose beginning did not fit into the model's positions."""
        self._progress = progress
        self._done = self._total = 0

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return super().loglikelihood(requests, disable_tqdm=True)

    def _loglikelihood_tokens(
        self, requests: list[Pair], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        # Choices of one token share a forward pass: their input is the same.
        inputs = {(*context, *continuation[:-1]) for _, context, continuation in requests}
        self._begin(len(inputs), sum(len(ids) > self.max_length for ids in inputs))
        return super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs)  # pyrefly: ignore

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        lengths = [
            len(self.tok_encode(request.args[0])) + request.args[1]["max_gen_toks"] for request in requests
        ]
        self._begin(len(requests), sum(length > self.max_length for length in lengths))
        return super().generate_until(requests, disable_tqdm=True)

    def _model_call(
        self, inps: Tensor, attn_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        logits = super()._model_call(inps, attn_mask, labels)
        self._advance(len(inps))
        return logits

    def _model_generate(
        self, context: Tensor, max_length: int, stop: list[str], **generation_kwargs: Any
    ) -> Tensor:
        ids = super()._model_generate(context, max_length, stop, **generation_kwargs)
        self._advance(len(context))
        return ids

    def _begin(self, total: int, cut: int) -> None:
        self.prompts += total
        self.cut += cut
        self._done, self._total = 0, total

    def _advance(self, rows: int) -> None:
        self._done = min(self._done + rows, self._total)
        if self._progress is not None:
            self._progress(self._done, self._total)
