"""The claims of the squeezing-heads paper, checked: run algebra.py."""
