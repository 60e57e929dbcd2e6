"""The claims of the SHARP paper that need no language model: one file per kind, each ends in `findings()`."""
