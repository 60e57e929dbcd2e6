"""Three texts under two vocabularies of letters, with answers of two models in float64."""

import torch

from stillroom.core.batch import Batch, Side
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, HeadTransform, HeadWeights, Signals
from stillroom.testing._vocabulary import letters

OURS = ModelShape(11, 8, 4, 2, 1, 4, "llama", "ours", letters("abcdefgXYZ"), 0)
THEIRS = ModelShape(14, 12, 6, 4, 2, 6, "llama", "theirs", letters("gfedcba123456"), 0)
SHARED = [(0, 0), *((1 + n, 7 - n) for n in range(7))]
"""Ids of the same letter, and both end tokens."""

OUR_ENDS = [[2, 4, 5, 7, 8, 11, 12, 13], [-1, -1, -1, 3, 4, 6, 7, 8], [1, 3, 5, -1, -1, -1, -1, -1]]
THEIR_ENDS = [[4, 5, 6, 8, 9, 10, 12, 13], [-1, -1, 1, 3, 4, 5, 6, 7], [1, 2, 4, 5, -1, -1, -1, -1]]
"""The second text is padded on the left, and the teacher's was cut."""
PROMPTS = [4, 3, 1]
"""Bytes that are not trained on."""
CONTEXT_PAIRS = 4 + 3 + 1
PIECES = 4 + 3 + 1
SINGLE = 2 + 2 + 0


def batch() -> Batch:
    generator = torch.Generator().manual_seed(7)
    return Batch(_side(OUR_ENDS, OURS, generator), _side(THEIR_ENDS, THEIRS, generator), torch.arange(3))


def _side(ends, shape, generator):
    ends = torch.tensor(ends)
    ids = torch.randint(shape.vocab_size, ends.shape, generator=generator)
    return Side(ids, (ends >= 0).long(), ends > torch.tensor(PROMPTS)[:, None], ends)


def signals(shape: ModelShape, side: Side, seed: int, dtype=torch.float64) -> Signals:
    """Hidden states that are leaves; NaN where nothing is predicted."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(*side.input_ids.shape, shape.width, generator=generator, dtype=dtype)
    hidden = hidden.masked_fill(~side.predicts[..., None], torch.nan).requires_grad_()
    head = torch.randn(shape.vocab_size, shape.width, generator=generator, dtype=dtype) * 0.5
    bias = torch.linspace(-1, 1, shape.vocab_size, dtype=dtype)
    return Signals(
        {FinalHidden(): hidden, Head(): HeadWeights(head.requires_grad_(), HeadTransform(bias=bias))}
    )


def both(seed=0, dtype=torch.float64):
    """Batch, student's answers, teacher's answers."""
    asked = batch()
    return (
        asked,
        signals(OURS, asked.student, 2 * seed, dtype),
        signals(THEIRS, asked.teacher, 2 * seed + 1, dtype),
    )


def probabilities(answers: Signals, temperature: float):
    """By text, position and token, as lists."""
    return (answers[Head()](answers[FinalHidden()]) / temperature).softmax(-1).tolist()


def texts(asked: Batch):
    """For every text: byte ends and trained tokens of both sides, as lists."""
    sides = (asked.student, asked.teacher)
    parts = [each.tolist() for side in sides for each in (side.byte_ends, side.response_mask)]
    return list(zip(*parts, strict=True))


def slopes_are_right(objective, asked, ours, theirs):
    """Gradients of hidden states and head against finite differences of the value."""
    predicts, head = asked.student.predicts, ours[Head()]

    def value(rows, weight):
        hidden = torch.zeros_like(ours[FinalHidden()]).masked_scatter(predicts[..., None], rows)
        moved = Signals({FinalHidden(): hidden, Head(): HeadWeights(weight, head.transform)})
        return sum(loss.total for loss in objective(moved, theirs, asked).values())

    rows = ours[FinalHidden()].detach()[predicts].requires_grad_()
    return torch.autograd.gradcheck(value, (rows, head.weight.detach().requires_grad_()))
