"""Which tokens are worth learning: the student does not know them, and the teacher does.

    w_i = H(Q_i) g_i             in the student's space;  g_i = max_v P_ts(v), the projected teacher's confidence
    w_j = 1 - H(P_j) / log W     in the teacher's space, of W tokens

each rescaled so that the weights of a sample sum to its number of tokens; entropies at a temperature of 1; no gradient.

Paper:    DWA-KD (2026), eqs. 11-14 and section 3.2
Differs:  its public code rescales the entropies alone and multiplies by g afterwards: `before_confidence`. Where all
          weights of a sample are zero, its tokens weigh one each
"""

import math

import torch
from torch import Tensor


def student_weights(entropy: Tensor, confidence: Tensor, lengths: Tensor, before_confidence: bool) -> Tensor:
    """`[n]`, from entropies of the student and confidences `[n]` in the order of samples, `lengths [B]` of each."""
    if before_confidence:
        return rescaled(entropy, lengths) * confidence
    return rescaled(entropy * confidence, lengths)


def teacher_weights(entropy: Tensor, vocab_size: int, lengths: Tensor) -> Tensor:
    """`[m]`, from entropies of the teacher `[m]` in the order of samples, `lengths [B]` of each."""
    return rescaled((1 - entropy / math.log(vocab_size)).clamp(min=0), lengths)


def rescaled(weights: Tensor, lengths: Tensor) -> Tensor:
    """`weights [n]` of at least 0 so that those of each sample sum to its length; one each where they sum to zero."""
    owner = torch.repeat_interleave(lengths)
    total = weights.new_zeros(len(lengths)).index_add(0, owner, weights)
    share = lengths / total.where(total > 0, 1)
    return torch.where(total[owner] > 0, weights * share[owner], 1.0)
