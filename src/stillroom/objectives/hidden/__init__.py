"""Objectives that compare hidden states, position by position."""
