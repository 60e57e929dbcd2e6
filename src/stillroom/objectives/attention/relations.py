"""Self-attention relations: which tokens are alike to the queries, keys or values of a layer, map against map.

    R_X  = softmax( X X' / sqrt(d) )            X the queries, keys or values of one relation head, d its width
    loss = sum_X alpha_X / A_X sum_a sum_t KL( R_X of the teacher || R_X of the student )

Queries, keys or values of all heads are laid side by side and cut again into A relation heads, as many in both
models: no number of heads has to match, nor any width, and nothing is trained. A token is compared with itself and
those before it. `attention` compares the maps of attention themselves, head by head.

Paper:    Wang et al. 2021, MiniLMv2 (`[query, key, value]`); Wang et al. 2020, MiniLM (`[attention, value]`, each with
          weight one: `alpha: [1, 1]`). Last layer against last; MiniLMv2 takes an upper middle layer of large teachers
Differs:  models with fewer key heads have fewer relation heads there, unless `relation_heads` says how many. Causal
          and real tokens only. Queries and keys are those after the rotary embedding, which the papers' models lack
Beware:   a cut through a head that has a rotary embedding compares parts of rotated pairs
"""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.core.shape import ModelShape
from stillroom.core.signals import QueryKey, QueryKeys, Request, Signals, Values
from stillroom.objectives._layers import pair_layers
from stillroom.objectives._settings import check_number
from stillroom.objectives.attention._family import MapObjective, Rows, check_equal_heads
from stillroom.objectives.attention._map_distance import map_distance

KNOWN = ("query", "key", "value", "attention")
Relation = Literal["query", "key", "value", "attention"]


@dataclass(eq=False, kw_only=True)
class Relations(MapObjective):
    """KL of relation maps, mean over relation heads and layers; one term for each relation, summed over rows."""

    student_layers: list[int] | None = None
    """Layers that are compared, from 1; null: the last."""
    relations: list[str] | None = None
    """Which of query, key, value and attention are compared; null is query, key and value."""
    alpha: list[float] | None = None
    """Their weights in the same order, not negative; null is equal weights that sum to one."""
    relation_heads: int | None = None
    """Into how many heads each relation is cut; null: the most that divide both models, up to what the student has."""

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = list(KNOWN[:3]) if self.relations is None else self.relations
        if not chosen or any(each not in KNOWN for each in chosen) or len(set(chosen)) < len(chosen):
            raise BadInput(f"relations must name one or more of {', '.join(KNOWN)}, got {chosen!r}")
        if self.alpha is not None and len(self.alpha) != len(chosen):
            raise BadInput(f"alpha must have a weight for each of {', '.join(chosen)}, got {self.alpha!r}")
        for name, weight in zip(chosen, self.alpha or (), strict=False):
            check_number(f"alpha of {name}", weight, "[0, inf)")
        if self.alpha is not None and not any(self.alpha):
            raise BadInput(f"alpha must have a weight above 0, got {self.alpha!r}: nothing would be compared")
        if self.relation_heads is not None:
            check_number("relation_heads", self.relation_heads, "[1, inf)")
        self.terms = dict.fromkeys(chosen, "tokens")  # type: ignore[misc]

    def choose(self, deep: int, teacher_deep: int) -> list[tuple[int, int]]:
        return pair_layers(self.student_layers or [deep], self.teacher_layers, deep, teacher_deep, first=1)

    def build(self, student: ModelShape, teacher: ModelShape) -> None:
        if "attention" in self.terms:
            instead = "leave attention out of relations: query, key and value ask for no number"
            name = f"{self.name} with relation attention"
            check_equal_heads(name, student.num_heads, teacher.num_heads, instead)
        self.heads = {
            name: self._relation_heads(name, *(_heads(name, each) for each in (student, teacher)))
            for name in self.terms
            if name != "attention"
        }

    def reads(self) -> tuple[list[type[Request]], list[type[Request]]]:
        kinds: list[type[Request]] = []
        if self.terms.keys() != {"value"}:
            kinds.append(QueryKey)
        if "value" in self.terms:
            kinds.append(Values)
        return kinds, kinds

    def distance(self, number: int, student: Signals, teacher: Signals, rows: Rows) -> dict[str, Tensor]:
        layer, partner = self.pairs[number]
        return {
            name: map_distance(self._map(name, student, layer), self._map(name, teacher, partner), rows)
            for name in self.terms
        }

    def term_weights(self) -> dict[str, float]:
        alpha = self.alpha or [1 / len(self.terms)] * len(self.terms)
        return dict(zip(self.terms, alpha, strict=True))

    def _map(self, name: str, signals: Signals, layer: int) -> QueryKeys:
        """What makes the map of a relation."""
        match name:
            case "attention":
                return signals[QueryKey(layer)]
            case "query":
                states = signals[QueryKey(layer)].query
            case "key":
                states = signals[QueryKey(layer)].key
            case _:
                states = signals[Values(layer)]
        states = _cut(states, self.heads[name])
        return QueryKeys(states, states, states.shape[-1] ** -0.5)

    def _relation_heads(self, name: str, ours: tuple[int, int], theirs: tuple[int, int]) -> int:
        """From heads and their width, of both models."""
        common = math.gcd(math.prod(ours), math.prod(theirs))
        if self.relation_heads is None:
            return max(heads for heads in range(1, ours[0] + 1) if common % heads == 0)
        if common % self.relation_heads:
            raise BadInput(
                f"relation_heads must divide the {name} width of both models, {math.prod(ours)} and "
                f"{math.prod(theirs)}, got {self.relation_heads}: choose a divisor of {common}"
            )
        return self.relation_heads


def _heads(name: str, shape: ModelShape) -> tuple[int, int]:
    return (shape.num_heads if name == "query" else shape.num_key_value_heads), shape.head_dim


def _cut(states: Tensor, heads: int) -> Tensor:
    """`[B,G,S,d]` to `[B,heads,S,G*d/heads]`."""
    width = states.shape[1] * states.shape[3]
    if width % heads:
        raise BadInput(
            f"expected values whose width of all heads together divides into {heads} relation heads, got {width}: set "
            f"relation_heads to a divisor of {width}"
        )
    return states.transpose(1, 2).flatten(2).unflatten(2, (heads, -1)).transpose(1, 2)
