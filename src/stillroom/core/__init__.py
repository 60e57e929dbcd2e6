"""The doors of the house: what a signal, a loss, an objective and a run record are.

Here belong types that every room speaks; never a formula, a model or a file format of others.
Import from the modules themselves (`stillroom.core.loss`, ...): this package stays free of torch, so that
the command line and the report can read a run record without it.
"""
