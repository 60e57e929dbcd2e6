"""Objectives that compare the student with text alone."""
