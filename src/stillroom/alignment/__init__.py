"""Two tokenizers, one text: where vocabularies and token boundaries agree; never a loss or a model."""
