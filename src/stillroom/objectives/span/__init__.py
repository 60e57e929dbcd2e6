"""Objectives that compare pieces of text that are larger than a token, whatever the tokenizers."""
