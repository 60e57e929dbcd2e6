"""One file for each kind of claim; each has `findings()`."""
