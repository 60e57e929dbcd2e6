"""The claims about SRA, checked: run algebra.py."""
