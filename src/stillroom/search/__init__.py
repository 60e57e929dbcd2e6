"""Settings of a recipe searched on held-out text: a space file, trials as processes of their own, what they found."""
