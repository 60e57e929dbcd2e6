"""Every objective keeps every promise, and the contract notices each one that is broken."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stillroom import objectives
from stillroom.testing import OTHER_TEACHER, TEACHER, check_objective

HEAD = """
from dataclasses import dataclass
import torch
from stillroom.core.loss import Loss, masked_sum
from stillroom.core.objective import Objective
from stillroom.core.signals import *

"""
GOOD = (
    HEAD
    + """
@dataclass(eq=False, kw_only=True)
class Mine(Objective):
    terms = {"distance": "tokens"}
    zero_at_match = True
    power: float = 2.0

    def setup(self, student, teacher):
        return Reads(student=(Logits(),), teacher=(Logits(),))

    def forward(self, student, teacher, batch):
        ours, theirs = student[Logits()], teacher[Logits()].detach()
        ours = ours.masked_fill(~batch.student.predicts[:, :, None], 0.0).float()
        distance = (ours - theirs.float()).abs().pow(self.power).sum(-1)
        return {"distance": masked_sum(distance, batch.student.predicts)}
"""
)
BROKEN = {
    "forgot the mask": (
        "masked_sum(distance, batch.student.predicts)",
        "masked_sum(distance, torch.ones_like(batch.student.predicts))",
        "masked positions change nothing|counts",
    ),
    "let NaN into the gradient": (
        ".masked_fill(~batch.student.predicts[:, :, None], 0.0)",
        "",
        "masked positions change nothing.*gradient",
    ),
    "multiplied by the mask": (
        "masked_sum(distance, batch.student.predicts)",
        "Loss((distance * batch.student.predicts).sum(), batch.student.predicts.sum())",
        "masked positions change nothing.*NaN times zero",
    ),
    "took a mean": (
        "masked_sum(distance, batch.student.predicts)}",
        "Loss(distance[batch.student.predicts].mean(), batch.student.predicts.sum())}",
        "rows of a batch add up",
    ),
    "leaked gradient to the teacher": (".detach()", "", "no gradient reaches the teacher"),
    "cut the student's gradient": ("student[Logits()]", "student[Logits()].detach()", "carries gradient"),
    "read what it had not declared": (
        "student[Logits()]",
        "student[Hidden(2)]",
        "reads only what it declared",
    ),
    "summed in half precision": (
        "masked_sum(distance, batch.student.predicts)",
        "Loss(distance[batch.student.predicts].to(student[Logits()].dtype).sum().float(),"
        " batch.student.predicts.sum())",
        "summed in float32",
    ),
    "divided nothing by nothing": (
        "masked_sum(distance, batch.student.predicts)}",
        "Loss(distance[batch.student.predicts].sum() * batch.student.predicts.sum()"
        " / batch.student.predicts.sum(), batch.student.predicts.sum())}",
        "empty mask gives zero",
    ),
    "compares by value": ("eq=False, ", "", "compares and hashes by identity"),
    "is no dataclass of its own": ("@dataclass(eq=False, kw_only=True)", "", "a dataclass of its own"),
    "returned another term": ('return {"distance"', 'return {"other"', "returns the terms"),
    "counted in another unit": (
        "masked_sum(distance, batch.student.predicts)",
        'masked_sum(distance, batch.student.predicts, "pairs")',
        "counts tokens",
    ),
    "counted what the model says": (
        "masked_sum(distance, batch.student.predicts)}",
        "masked_sum(distance, batch.student.predicts & (distance > 20))}",
        "before the forward pass",
    ),
    "returned float64": (
        "masked_sum(distance, batch.student.predicts)}",
        "Loss(distance.double()[batch.student.predicts].sum(), batch.student.predicts.sum())}",
        "float32 scalar",
    ),
    "is not zero at match": ("theirs.float()", "2 * theirs.float()", "equal signals give zero"),
    "has a setting that no recipe holds": (
        "power: float = 2.0",
        "power: float = 2.0\n    kind: type = int",
        "a recipe can hold",
    ),
    "changes its settings": (
        "    def setup",
        "    def __post_init__(self):\n        super().__post_init__()\n        self.power *= 2\n\n"
        "    def setup",
        "round-trip",
    ),
    "takes a key of the recipe": (
        "power: float = 2.0",
        "power: float = 2.0\n    weight: float = 1.0",
        "leave `use`, `weight` and `learning_rate`",
    ),
    "takes the rate of its parts as a setting": (
        "power: float = 2.0",
        "power: float = 2.0\n    learning_rate: float = 1e-3",
        "leave `use`, `weight` and `learning_rate`",
    ),
    "asks for a layer too many": (
        "student=(Logits(),)",
        "student=(Logits(), Hidden(99))",
        "asks for a layer",
    ),
}
"""What is wrong: the text replaced in `GOOD`, its replacement, and what the contract says."""


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Writes `mine.py` on the import path."""
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda text: (tmp_path / "mine.py").write_text(text)
    sys.modules.pop("mine", None)


SHAPES = {"attention.map_mse": {"teacher": replace(TEACHER, num_heads=2, num_key_value_heads=1)}}
"""For objectives that refuse the default ones: here, other head counts."""


@pytest.mark.parametrize("name", objectives.names())
def test_the_catalog_keeps_its_promises(name):
    check_objective(name, **SHAPES.get(name, {}))


@pytest.mark.parametrize(
    "name", [name for name in objectives.names() if objectives.find(name).two_vocabularies]
)
def test_the_catalog_keeps_its_promises_over_two_vocabularies(name):
    check_objective(name, teacher=OTHER_TEACHER)


def test_a_strangers_objective_keeps_them_too(stranger):
    stranger(GOOD)
    check_objective("mine")
    check_objective(objectives.find("mine")(power=1.0))


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_promise_is_named(fault, stranger):
    before, after, says = BROKEN[fault]
    assert before in GOOD
    stranger(GOOD.replace(before, after))
    with pytest.raises(AssertionError, match=f"(?s){says}"):
        check_objective("mine")


EVERYTHING = (
    HEAD
    + """
@dataclass(eq=False, kw_only=True)
class Everything(Objective):
    terms = {"all": "sequences", "small": "step"}
    additive = True

    def setup(self, student, teacher):
        self.project = torch.nn.Linear(student.width, teacher.width, bias=False)
        self.wanted = (Hidden(0), Hidden(4), Embedding(), Head(), QueryKey(1), Values(4), FinalHidden())
        return Reads(student=self.wanted, teacher=self.wanted)

    def forward(self, student, teacher, batch):
        rows = batch.student.predicts.any(1)
        gap = self.project(student[Hidden(4)][:, 0]) - teacher[Hidden(4)][:, 0].detach()
        scores = student[QueryKey(1)].query[:, 0, 0].float() * student[Values(4)][:, 0, 0].float()
        each = gap.float().pow(2).sum(-1) + scores.sum(-1)
        small = student[Embedding()].float().pow(2).sum()
        return {
            "all": Loss(torch.where(rows, each, 0.0).sum(), rows.sum(), "sequences"),
            "small": Loss(small, torch.ones(()), "step"),
        }
"""
)


def test_every_kind_of_signal_can_be_made(stranger):
    stranger(EVERYTHING.replace("student[Hidden(4)][:, 0]", "student[Hidden(4)][:, 0].float()"))
    check_objective("mine")


def test_the_example_of_the_method_page_is_a_whole_objective(stranger):
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    stranger(page.split("```python\n")[1].split("```")[0])
    check_objective("mine")
