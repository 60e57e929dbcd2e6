"""Objectives that compare two models in the space of one of them: through its head, after a projection."""
