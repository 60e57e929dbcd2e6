"""Text to batches: reading, naming columns, templates, encoding, padding; never a loss or a model."""
