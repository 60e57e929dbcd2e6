"""Published tables run again at a size that fits: the paper's figures beside ours, and what cannot be compared."""
