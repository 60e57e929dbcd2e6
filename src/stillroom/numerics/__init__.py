"""Formulas over tensors: tensors in, tensors out; never a model, a module or a parameter."""
