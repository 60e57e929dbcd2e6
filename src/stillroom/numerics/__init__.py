"""Formulas over tensors, and over plain numbers where no tensor is needed; never a model, a module or a parameter."""
