"""What run.json says of a model."""

import torch
from tiny import tiny_llama

from stillroom.recipe.models import describe


def test_a_buffer_without_dimensions_is_hashed_too():
    model = tiny_llama()
    before = describe(model, "here", "v")["sha256"]
    model.register_buffer("scale", torch.tensor(2.0))
    assert describe(model, "here", "v")["sha256"] != before
