"""Squeezing heads: the teacher's heads merged to as many as the student has, map against map; nothing is trained.

    M_h = sum_m w_hm A^m,   w = argmin || M_h sum_m X_m - sum_m A^m X_m ||,   w >= 0,  sum_m w_hm = 1,   X = V W_O
    1/L sum_l 1/H sum_h sum_t KL( M_{g(l),h,t} || A_{l,h,t} ),                g(l) = ceil(l L_teacher / L_student)

A are the student's maps, A^m those of the teacher; w per sample, layer and group of heads, from maps at temperature 1.

Paper:    Optimizing Knowledge Distillation in Transformers: Enabling Multi-Head Attention without Alignment Barriers
          (2025, SHD), Eq. 5-11
Differs:  Eq. 7 prints an N that is not the one its definition gives: `merge: printed` is that formula, which stays near
          one half whatever the heads do. Groups of three and more are merged at once. The paper sums over layers and
          heads, here is their mean: its beta is a weight of beta L H. It is silent on which heads are merged
          (neighbors, larger groups first), on ratios of depth that are no whole number, and on which rows count
Beware:   head h of the student learns from group h, whatever either was good for. What lies after the maps of the last
          layer gets no gradient: it belongs beside a logit objective
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.head_groups import HeadGroups, read_head_groups
from stillroom.core.head_merge import HeadMerge
from stillroom.core.shape import ModelShape
from stillroom.core.signals import OutputProjection, QueryKey, Request, Signals, Values
from stillroom.kernels.squeeze_weights import (
    LARGEST_GROUP,
    MergeWeights,
    narrow_projection,
    squeeze_weights,
)
from stillroom.objectives._settings import check_choice, check_number
from stillroom.objectives.attention import _head_groups
from stillroom.objectives.attention._family import MapObjective, Rows
from stillroom.objectives.attention._head_groups import Groups
from stillroom.objectives.attention._map_distance import equal_shares, map_distance

FROM_OUTPUTS = ("optimal", "sequential", "printed")
"""Merges whose shares depend on what the heads write into the model."""


@dataclass(eq=False, kw_only=True)
class SqueezeHeads(MapObjective):
    """Divergence of the student's maps from merged maps of its teacher, mean over layers and heads; sum over rows."""

    grouping: Literal["contiguous", "matched", "random"] = "contiguous"
    """Heads that are merged: neighbors, those that `groups` names, or drawn by `seed`."""
    groups: str | list[list[list[int]]] | None = None
    """For `grouping: matched`: the file that `match-heads` wrote, or for every pair of layers a list of teacher heads,
    from 0, to each head of the student."""
    merge: Literal["optimal", "sequential", "constant", "select", "printed"] = "optimal"
    """Shares: the exact minimum; one head after the other; all alike; one head drawn by `seed` for each of the
    student's and no merging; or the formula as it was printed."""
    attention_temperature: float = 1.0
    """Divides the logits of both models' maps before they are compared; shares are those of maps as they are."""
    divergence: Literal["kl", "mse"] = "kl"
    """In nats, or the squared difference, mean over the keys of a sample: smaller by about their number."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("grouping", self.grouping, ("contiguous", "matched", "random"))
        check_choice("merge", self.merge, (*FROM_OUTPUTS, "constant", "select"))
        check_choice("divergence", self.divergence, ("kl", "mse"))
        check_number("attention_temperature", self.attention_temperature, "(0, inf)")
        check_number("seed", self.seed, "[0, inf)")
        self._check_groups_given()
        self._file: HeadGroups | None = None

    def build(self, student: ModelShape, teacher: ModelShape) -> None:
        heads, wanted = teacher.num_heads, student.num_heads
        if wanted > heads:
            raise BadInput(
                f"attention.squeeze_heads merges teacher heads and needs at least as many as the student has, but the "
                f"student has {wanted} and the teacher {heads}: choose attention.relations, which asks for no number"
            )
        self.merged = self._groups([partner for _, partner in self.pairs], heads, wanted)
        self._narrow: dict[int, tuple[Tensor, Tensor]] = {}
        self._last: dict[int, tuple[MergeWeights, Tensor]] = {}
        if self.merge == "optimal":
            self._check_solvable()

    def reads(self) -> tuple[list[type[Request]], list[type[Request]]]:
        outputs = [Values, OutputProjection] if self._weighs_outputs else []
        return [QueryKey], [QueryKey, *outputs]

    def distance(self, number: int, student: Signals, teacher: Signals, rows: Rows) -> dict[str, Tensor]:
        layer, partner = self.pairs[number]
        mix = None
        if self._weighs_outputs:
            found = self.merge_weights(number, teacher, rows)
            mix = found.mix
            if self.training:
                self._last[number] = found, rows.counted.any(dim=1)
        distance = map_distance(
            student[QueryKey(layer)],
            teacher[QueryKey(partner)],
            rows,
            self.merged[number],
            mix,
            temperature=self.attention_temperature,
            divergence=self.divergence,
        )
        return {"map": distance}

    def merge_weights(self, number: int, teacher: Signals, rows: Rows) -> MergeWeights:
        """Shares `mix [B,H,k]` of the teacher's heads in pair `number` of layers, and what they were before bounds."""
        partner = self.pairs[number][1]
        seen = teacher[QueryKey(partner)]
        return squeeze_weights(
            seen.query,
            seen.key,
            teacher[Values(partner)],
            self._narrowed(number, teacher[OutputProjection(partner)]),
            groups=self.merged[number],
            scaling=seen.scaling,
            weights=rows.weights,
            key_mask=rows.real,
            window=seen.window,
            softcap=seen.softcap,
            method=self.merge,  # type: ignore[arg-type]
        )

    def merges(self, teacher: Signals, batch: Batch) -> list[HeadMerge]:
        """What becomes of the teacher's heads in every pair of layers: for `stillroom inspect`."""
        rows = self._rows(batch)
        return [self._merge(number, teacher, rows) for number in range(len(self.pairs))]

    def measures(self) -> dict[str, float]:
        """Of the last batch: `clamped`, the share of merges whose best weights had one below zero, and by student
        layer `alpha`, the mean share of the first head of a group."""
        found, all_clamped = {}, []
        for number, (weights, counted) in self._last.items():
            several = [n for n, group in enumerate(self.merged[number]) if len(group) > 1]
            alpha, clamped = (each[counted][:, several] for each in (weights.mix[..., 0], weights.clamped))
            if alpha.numel():
                found[f"alpha/{self.pairs[number][0]}"] = alpha.mean().item()
                all_clamped.append(clamped.float().flatten())
        if all_clamped:
            found["clamped"] = torch.cat(all_clamped).mean().item()
        return found

    def notes(self) -> list[str]:
        if all(len(group) == 1 for groups in self.merged for group in groups):
            return [] if self.merge == "select" else ["No heads are merged: maps are compared one by one."]
        if self.merge == "printed":
            return ["merge: printed is the paper's Eq. 7 to the letter, which does not minimize its Eq. 6."]
        return []

    def files(self) -> list[str]:
        return [] if self._file is None else [str(self.groups)]

    def measured_on(self) -> dict[str, str]:
        found = self._file
        return {} if found is None or found.weights is None else {str(self.groups): found.weights}

    # --- groups -----------------------------------------------------------------------------------------------

    @property
    def _weighs_outputs(self) -> bool:
        several = any(len(group) > 1 for groups in self.merged for group in groups)
        return several and self.merge in FROM_OUTPUTS

    def _merge(self, number: int, teacher: Signals, rows: Rows) -> HeadMerge:
        layers, groups = self.pairs[number], self.merged[number]
        if not self._weighs_outputs:
            shares = equal_shares(groups, len(rows.real), rows.real.device)
            return HeadMerge(*layers, groups, shares, rows.counted)
        mix, clamped, unclamped = self.merge_weights(number, teacher, rows)
        return HeadMerge(*layers, groups, mix, rows.counted, unclamped, clamped)

    def _narrowed(self, number: int, out_proj: Tensor) -> Tensor:
        """Narrowed once: a teacher does not change. What is kept holds its memory, so no other tensor can lie there."""
        kept = self._narrow.get(number)
        if kept is None or not _is_same_memory(kept[0], out_proj):
            kept = self._narrow[number] = out_proj.detach(), narrow_projection(out_proj, self.merged[number])
        return kept[1]

    def _groups(self, layers: list[int], heads: int, wanted: int) -> list[Groups]:
        """Of each of these teacher layers."""
        if isinstance(self.groups, str):
            self._file = read_head_groups(Path(self.groups).expanduser())
            try:
                return self._file.for_layers(layers, heads, wanted)
            except BadInput as error:
                raise BadInput(f"{self.groups}: {error}") from error
        if self.groups is not None:
            _head_groups.check_fit(self.groups, layers, heads, wanted)
            return self.groups
        if self.merge == "select":
            return [_head_groups.selected(heads, wanted, self.seed, layer) for layer in layers]
        if self.grouping == "random":
            return [_head_groups.at_random(heads, wanted, self.seed, layer) for layer in layers]
        return [_head_groups.neighbors(heads, wanted)] * len(layers)

    def _check_groups_given(self) -> None:
        if (self.grouping == "matched") != (self.groups is not None):
            raise BadInput(
                "grouping: matched and groups belong together: groups names the teacher heads that are merged for "
                "each head of the student (`stillroom match-heads` writes a file of them), got grouping: "
                f"{self.grouping} and groups: {self.groups}"
            )
        if self.merge == "select" and self.grouping != "contiguous":
            raise BadInput(
                "merge: select draws one teacher head for each of the student's and merges none: leave out grouping, "
                f"got {self.grouping}"
            )
        if isinstance(self.groups, list):
            _head_groups.check_nested(self.groups)

    def _check_solvable(self) -> None:
        longest = max(len(group) for groups in self.merged for group in groups)
        if longest > LARGEST_GROUP:
            raise BadInput(
                f"merge: optimal merges at most {LARGEST_GROUP} heads to one, here are {longest}: use merge: sequential"
            )


def _is_same_memory(first: Tensor, second: Tensor) -> bool:
    def place(tensor: Tensor) -> tuple[object, ...]:
        return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device

    return place(first) == place(second)
