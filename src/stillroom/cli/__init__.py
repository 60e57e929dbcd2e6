"""Verbs on the command line; they decide nothing."""
