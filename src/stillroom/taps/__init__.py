"""How signals are recorded from Hugging Face models; never anything computed from what was recorded."""
