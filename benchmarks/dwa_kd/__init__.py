"""The claims of the DWA-KD paper, checked: run algebra.py."""
