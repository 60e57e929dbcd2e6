"""Objectives that compare where student and teacher look."""
