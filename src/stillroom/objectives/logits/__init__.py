"""Objectives that compare next-token distributions over one shared vocabulary."""
