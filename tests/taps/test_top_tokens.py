import math

import pytest
import torch
from tiny import tiny_llama

from stillroom.core.batch import Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadTransform, HeadWeights, TopTokens
from stillroom.taps import top_tokens as tap
from stillroom.taps.capture import capture
from stillroom.taps.top_tokens import top_tokens


def side(rows: int = 2, length: int = 7) -> Side:
    mask = torch.ones(rows, length, dtype=torch.long)
    response = mask.bool().clone()
    response[:, :3] = False
    return Side(torch.randint(3, 37, (rows, length)), mask, response)


def test_against_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap, "ROWS", 3)
    torch.manual_seed(0)
    text, hidden = side(), torch.randn(2, 7, 5)
    head = HeadWeights(torch.randn(11, 5), HeadTransform(softcap=3.0))
    found = top_tokens(TopTokens(4, temperature=2.0), hidden, head, text)
    for row in range(2):
        for at in range(7):
            if not text.predicts[row, at]:
                assert found.log_tail[row, at] == -math.inf
                assert not found.log_probs[row, at].any()
                continue
            logits = [x / 2.0 for x in head(hidden[row, at].double()[None].float())[0].tolist()]
            total = sum(math.exp(x) for x in logits)
            ranked = sorted(range(11), key=lambda v: -logits[v])
            assert found.ids[row, at].tolist() == ranked[:4]
            for place, token in enumerate(ranked[:4]):
                want = math.log(math.exp(logits[token]) / total)
                assert found.log_probs[row, at, place].item() == pytest.approx(want, abs=1e-5)
            tail = sum(math.exp(logits[v]) for v in ranked[4:]) / total
            assert found.log_tail[row, at].item() == pytest.approx(math.log(tail), abs=1e-5)


def test_a_model_answers_it_alone_and_hands_out_nothing_else() -> None:
    model, text = tiny_llama(), side()
    request = TopTokens(5)
    with torch.no_grad():
        signals = capture(model, text, (request,))
        both = capture(model, text, (FinalHidden(), Head()))
    assert set(signals) == {request}
    want = both[Head()](both[FinalHidden()]).log_softmax(-1).topk(5).values
    torch.testing.assert_close(signals[request].log_probs[text.predicts], want[text.predicts])


def test_the_tail_keeps_its_digits_where_the_top_is_nearly_all() -> None:
    head = HeadWeights(torch.tensor([[40.0], [0.0], [-1.0]]))
    found = top_tokens(
        TopTokens(1), torch.ones(1, 3, 1), head, Side(*(torch.ones(1, 3, dtype=torch.long),) * 3)
    )
    assert found.log_tail[0, 0].item() == pytest.approx(math.log(math.exp(-40) + math.exp(-41)), abs=1e-4)


@pytest.mark.parametrize("k", [0, 11, 12])
def test_k_must_leave_others(k: int) -> None:
    with pytest.raises(BadInput, match="from 1 to 10"):
        top_tokens(TopTokens(k), torch.randn(2, 7, 5), HeadWeights(torch.randn(11, 5)), side())
