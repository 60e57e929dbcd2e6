"""Attention and heads without the big matrix: one folder a kernel, one door function each, `impl="auto"`.

Here belongs what makes a quantity fit in memory; never the reason why it is wanted.
"""
