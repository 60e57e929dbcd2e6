"""DSKD v1, one vocabulary: the first version, with two trained projectors and the tokens of the text as labels.

    student_space   sum_t D( softmax(z_ts / T) || softmax(z_s / T) )          z_ts = (h_t P_ts + b) W_s
    projector       sum_t -log softmax(z_ts)[y_t]                             y_t the next token of the text
    teacher_space   sum_t KL( softmax(z_t / T) || softmax(z_st / T) )         z_st = (h_s P_st + c) W_t

`dual_space.dskd` with other settings: projectors with bias that start at random and are both trained, no mask of
agreement, and forward KL in teacher space whatever the divergence.

Paper:    Dual-Space Knowledge Distillation for Large Language Models (arXiv 2406.17328); code songmzhang/DSKD. Beside
          it stands cross-entropy, at equal weights. Two vocabularies: `dual_space.cross_model_attention`
Differs:  scales, biases and soft-caps of heads apply in both spaces
Beware:   P_st is trained on the loss that it carries: teacher_space falls for a student that learns nothing
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from stillroom.objectives.dual_space.dskd import DSKD


@dataclass(eq=False, kw_only=True)
class DSKDv1(DSKD):
    """Divergences in both spaces with trained projectors, summed over pairs of positions."""

    two_vocabularies: ClassVar[bool] = False

    teacher_divergence: str | None = "forward_kl"
    """Another divergence for the teacher's space; null: the same."""
    init: Literal["logits", "random"] = "random"
    """How trained projectors start: so that they keep logits, or at random."""
    to_teacher: Literal["recomputed", "trained"] = "trained"
    """The map from the student's space to the teacher's: from the two heads at every step, or a trained one."""
    bias: bool = True
    """Whether trained projectors have a bias."""
    label: Literal["teacher", "gold"] = "gold"
    """What the projector is trained to say: the teacher's likeliest token, or the next one of the text."""
    agreement: bool | float = False
    """Compare in the student's space only where the projected teacher says the label; a number: only while no larger
    share of a micro-batch agrees."""
