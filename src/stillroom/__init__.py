"""Distil large language models into small ones."""
