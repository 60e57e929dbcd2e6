"""The claims about MTA, checked: run algebra.py."""
