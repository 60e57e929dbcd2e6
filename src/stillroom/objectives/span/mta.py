"""MTA: words in low layers and phrases in high ones lie to each other as in the teacher; beside a base objective.

    U_k = sum_{t in k} w_t H_t / m_k,  m_k = sum_{t in k} w_t         w: centrality, of each model its own
    structure = 1/M sum_l sum_{i != j} pi_ij ( cos(U^S_i, U^S_j) - cos(U^T_i, U^T_j) )^2        pi_ij ~ m^T_i m^T_j
    hidden    = 1/M sum_l sum_{t in units} w^T_t ( 1 - cos( W_l H^S_t, H^T_t ) )                w^T sums to one

over M layers, per sequence. Terms are told apart by the units of their layers, so that a text without a phrase counts
in none of them: `words` and `phrases` (structure; texts with at least two), `hidden_words` and `hidden_phrases`.

Paper:    MTA: Multi-Granular Trajectory Alignment (2026, arXiv 2605.01374), eqs. 5-14; code by its authors
Differs:  eqs. 10-11 have masses sum to one over units (`share: units`), the code pi over the pairs of the whole batch;
          here over those of a text, so that batches add up. Eq. 12 sums hidden over layers, the code takes the mean, as
          here. The code pools each model with its own weights; `pool_with: teacher` is the other reading of the paper.
          Its centrality is that among prompt, response and padding; here among response tokens. Its words are those
          inside of phrases, each with the space behind it (`words: in_phrases`), and phrases may overlap. Its
          --entropy_weight sums the teacher's certainty over a unit, its code for two tokenizers takes the mean, as
          here. With two tokenizers it has no hidden term; here centers of units stand in for tokens. A text of one
          token is NaN there and a batch without a phrase an error
Beware:   W_l is trained on the loss that it carries. What the units are is up to who cut the text (`data.spans`): runs
          on texts that were cut by different segmenters are not comparable
"""

from collections import Counter
from dataclasses import dataclass, replace
from statistics import mean
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, Reads, Request, Signals
from stillroom.objectives._layers import check_layers
from stillroom.objectives._rows import predicting_rows
from stillroom.objectives._settings import check_choice, check_number
from stillroom.objectives.span._certainty import certainty
from stillroom.objectives.span._coverage import coverage
from stillroom.objectives.span._distance import control, distance
from stillroom.objectives.span._key_layers import KeyLayer, Kind, key_layers
from stillroom.objectives.span._levels import Rows, level, tokens_of_units
from stillroom.objectives.span._pooling import masses
from stillroom.objectives.span._relations import relational
from stillroom.objectives.span._states import state
from stillroom.objectives.span._token_weights import known, token_weights, weighed_by
from stillroom.objectives.span._units import Units, only_within, units_of_batch

KINDS: tuple[Kind, ...] = ("words", "phrases")
CHOICES = {
    "words": ("all", "in_phrases"),
    "token_weights": ("centrality", "attention", "uniform"),
    "pool_with": ("own", "teacher"),
    "pair_weights": ("mass", "uniform", "entropy"),
    "share": ("pairs", "units"),
}


@dataclass(eq=False, kw_only=True)
class MTA(Objective):
    """Relative geometry of words and phrases layer by layer, and a cosine distance of hidden states, per sequence."""

    two_vocabularies: ClassVar[bool] = True

    student_layers: list[int] | None = None
    """Layers in which units are compared, from 1; null: those at 1/2, 3/4 and all of the depth, rounded up."""
    teacher_layers: list[int] | None = None
    """Their partners in the same order; null: the layers at the same relative depth, rounded up."""
    split: float = 0.5
    """Share of the student's depth up to which (rounded up) words are compared, and above it phrases; 1: words alone,
    0: phrases alone."""
    word_layers: list[int] | None = None
    """Instead of `split`: the student's layers in which words are compared."""
    words: Literal["all", "in_phrases"] = "all"
    """Which words take part: all, or, as in the public code, those that are part of a phrase."""
    token_weights: Literal["centrality", "attention", "uniform"] = "centrality"
    """What a token weighs in its unit: its centrality among the tokens of the response, the attention that the last
    token of the sequence pays to it in that layer, or all the same."""
    pool_with: Literal["own", "teacher"] = "own"
    """Whose weights pool the student's states."""
    pair_weights: Literal["mass", "uniform", "entropy"] = "mass"
    """What a unit weighs in structure, and a token in hidden: the teacher's weight of it, all the same, or the
    certainty of the teacher's prediction there, one minus entropy by logarithm of vocabulary."""
    share: Literal["pairs", "units"] = "pairs"
    """Whether weights sum to one over pairs of units, or, as printed, over units."""
    structure_weight: float = 2.0
    """Weight of relative geometry; 0 leaves it out."""
    hidden_weight: float = 0.2
    """Weight of hidden states; 0 leaves them and W_l out."""
    hidden: Literal["tokens", "units"] | None = None
    """What hidden compares: tokens, which needs one tokenizer, or centers of units; null: tokens where it can."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_settings()
        kinds: tuple[Kind, ...] = KINDS
        if self.word_layers is None and self.split in (0, 1):
            kinds = ("words",) if self.split else ("phrases",)
        self._name_terms(kinds)
        self.units = KINDS if self.words == "in_phrases" else kinds  # type: ignore[misc]
        # W_l of a student that is its teacher is still not the identity
        self.zero_at_match = self.hidden_weight == 0  # type: ignore[misc]

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        self._check_pair(student, teacher)
        low = self.split if self.word_layers is None else self.word_layers
        depths = student.num_layers, teacher.num_layers
        self.layers = key_layers(self.student_layers, self.teacher_layers, low, *depths)
        self.depths = depths
        self._name_terms(tuple(kind for kind in KINDS if any(each.kind == kind for each in self.layers)))
        one_tokenizer = student.vocabulary == teacher.vocabulary
        self._by_token = self.hidden == "tokens" or (self.hidden is None and one_tokenizer)
        mapped = self.layers if self.hidden_weight else []
        self.projections = nn.ModuleList(nn.Linear(student.width, teacher.width) for _ in mapped)
        self._last_units: tuple[Side, dict[Kind, Units]] | None = None
        self._last_rows: dict[Kind, list[tuple[int, Rows]]] = {}
        return self._reads()

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        with torch.autocast(batch.student.input_ids.device.type, enabled=False):
            return self._compare(student, teacher, batch)

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return self._counts({kind: self._units(batch, kind) for kind in self.kinds})

    def term_weights(self) -> dict[str, float]:
        weight = {"words": self.structure_weight, "phrases": self.structure_weight}
        weight |= {"hidden_words": self.hidden_weight, "hidden_phrases": self.hidden_weight}
        layers = Counter(each.kind for each in self.layers)
        return {term: weight[term] * layers[_kind(term)] / len(self.layers) for term in self.terms}

    def measures(self) -> dict[str, float]:
        """Of the last batch, by kind of unit: how many a sequence has, how many tokens one has, which share of the
        trained tokens lies in one; `control_*`: what that term would be, had each row been compared with another."""
        found: dict[str, float] = {}
        if self._last_units is not None:
            side, units = self._last_units
            for kind, each in units.items():
                found |= coverage(each, side, kind)
        for kind, layers in self._last_rows.items():
            if layers and len(layers[0][1].ours) > 1:
                apart = [control(rows, self.projections[number]) for number, rows in layers]
                found[f"control_hidden_{kind}"] = mean(apart)
        return found

    def notes(self) -> list[str]:
        layers = ", ".join(f"{each.kind} in {each.student} with {each.teacher}" for each in self.layers)
        notes = [f"Layers of the student with those of the teacher: {layers}."]
        if self.hidden_weight:
            compared = "tokens" if self._by_token else "centers of units"
            notes.append(
                f"The projections are trained on the loss that they carry: hidden, over {compared}, falls for a "
                "student that learns nothing (compare measure/control_*, the same loss against other rows)."
            )
        return notes

    # --- the parts --------------------------------------------------------------------------------------------

    def _compare(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        units = {kind: self._units(batch, kind) for kind in self.kinds}
        if (self._by_token and self.hidden_weight) or self.pool_with == "teacher":
            predicting_rows(batch)  # refuses texts whose tokens are not the same ones on both sides
        if self.training:
            self._last_units, self._last_rows = (batch.student, units), {kind: [] for kind in self.kinds}
        certain = None
        if self.pair_weights == "entropy":
            certain = certainty(teacher[FinalHidden()], teacher[Head()], known(batch.teacher))
        found: dict[str, list[Tensor]] = {term: [] for term in self.terms}
        for number, layer in enumerate(self.layers):
            kind, each = layer.kind, units[layer.kind]
            states = (
                student[state(layer.student, self.depths[0])],
                teacher[state(layer.teacher, self.depths[1])],
            )
            weights = self._token_weights(layer, student, teacher, states, batch, each)
            matter = weights[1] if certain is None else certain
            if self.pair_weights == "uniform":
                matter = torch.ones_like(matter)
            centers = level(states, weights, each, self._unit_weights(matter, each))
            if self.structure_weight:
                found[kind].append(relational(*centers, self.share).sum())
            if self.hidden_weight:
                rows = tokens_of_units(states, matter, each) if self._by_token else centers.rows(each.exists)
                found[f"hidden_{kind}"].append(self._hidden(number, kind, rows))
        means = {term: torch.stack(each).mean() for term, each in found.items()}
        counts = self._counts(units)
        return {term: Loss(total, counts[term], "sequences") for term, total in means.items()}

    def _token_weights(
        self,
        layer: KeyLayer,
        student: Signals,
        teacher: Signals,
        states: tuple[Tensor, Tensor],
        batch: Batch,
        units: Units,
    ) -> tuple[Tensor, Tensor]:
        """Of student `[B,S]` and teacher `[B,T]`."""
        theirs = token_weights(self.token_weights, teacher, layer.teacher, states[1], batch.teacher)
        if self.pool_with == "own":
            return token_weights(self.token_weights, student, layer.student, states[0], batch.student), theirs
        ours = torch.zeros_like(units.student, dtype=theirs.dtype)
        ours[units.student >= 0] = theirs[units.teacher >= 0]
        return ours, theirs

    def _unit_weights(self, tokens: Tensor, units: Units) -> Tensor | None:
        """What a unit weighs, `[B,K]`, by what the teacher's tokens do: all of them together, or their mean."""
        if self.pair_weights == "uniform":
            return None
        most = units.exists.shape[1]
        found = masses(tokens, units.teacher, most)
        if self.pair_weights == "mass":
            return found
        return found / masses(torch.ones_like(tokens), units.teacher, most).clamp(min=1)

    def _hidden(self, number: int, kind: Kind, rows: Rows) -> Tensor:
        """Distance of the rows of one layer, summed over samples."""
        if self.training:
            self._last_rows[kind].append((number, rows.some()))
        return distance(rows, self.projections[number])

    def _units(self, batch: Batch, kind: Kind) -> Units:
        return units_of_batch(_in_phrases(batch) if self.words == "in_phrases" else batch, kind)

    def _counts(self, units: dict[Kind, Units]) -> dict[str, Tensor]:
        """Sequences with enough units of the kind: two have a relation, one has a state."""
        enough = {term: 1 if term.startswith("hidden") else 2 for term in self.terms}
        return {term: (units[_kind(term)].counts >= least).sum() for term, least in enough.items()}

    def _reads(self) -> Reads:
        ours: list[Request] = []
        theirs: list[Request] = []
        for layer in self.layers:
            for asked, number, depth in ((ours, layer.student, 0), (theirs, layer.teacher, 1)):
                asked += [state(number, self.depths[depth]), *weighed_by(self.token_weights, number)]
        if self.pair_weights == "entropy":
            theirs += [FinalHidden(), Head()]
        return Reads(student=tuple(dict.fromkeys(ours)), teacher=tuple(dict.fromkeys(theirs)))

    # --- settings ---------------------------------------------------------------------------------------------

    def _name_terms(self, kinds: tuple[Kind, ...]) -> None:
        self.kinds = kinds
        structure = list(kinds) if self.structure_weight else []
        hidden = [f"hidden_{kind}" for kind in kinds] if self.hidden_weight else []
        self.terms: dict[str, Unit] = dict.fromkeys([*structure, *hidden], "sequences")  # type: ignore[misc]

    def _check_settings(self) -> None:
        for name in ("student_layers", "teacher_layers"):
            check_layers(name, getattr(self, name), first=1)
        if self.word_layers is not None and self.word_layers != []:
            check_layers("word_layers", self.word_layers, first=1)
        check_number("split", self.split, "[0, 1]")
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        if self.hidden is not None:
            check_choice("hidden", self.hidden, ("tokens", "units"))
        for name in ("structure_weight", "hidden_weight"):
            check_number(name, getattr(self, name), "[0, inf)")
        if not (self.structure_weight or self.hidden_weight):
            raise BadInput("structure_weight and hidden_weight are both 0, nothing is compared: raise one")

    def _check_pair(self, student: ModelShape, teacher: ModelShape) -> None:
        by_token = {
            "pool_with": self.pool_with == "teacher",
            "hidden": self.hidden == "tokens" and self.hidden_weight,
        }
        for name, other in (("pool_with", "own"), ("hidden", "units")):
            if by_token[name] and student.vocabulary != teacher.vocabulary:
                raise BadInput(
                    f"span.mta with {name}: {getattr(self, name)} goes token by token and needs one tokenizer, but the "
                    f"student has {student.vocabulary} and the teacher {teacher.vocabulary}: set {name}: {other}"
                )
        for role, shape in (("student", student), ("teacher", teacher)):
            if self.token_weights == "attention" and not shape.num_heads:
                raise BadInput(
                    f"span.mta weighs tokens by attention, and the {role} ({shape.model_type}) has none: set "
                    "token_weights: centrality"
                )


def _in_phrases(batch: Batch) -> Batch:
    """The batch with the words alone that lie in phrases, whole; as it is where it knows no words or no phrases."""

    def inside(side: Side) -> Side:
        if side.words is None or side.phrases is None:
            return side
        return replace(side, words=only_within(side.words, side.phrases >= 0))

    student = inside(batch.student)
    teacher = student if batch.teacher is batch.student else inside(batch.teacher)
    return replace(batch, student=student, teacher=teacher)


def _kind(term: str) -> Kind:
    return "words" if term.endswith("words") else "phrases"
