"""Steps, ranks and checkpoints: one trainer for all methods; never a formula."""
