"""From a run folder to one HTML file; reads files only, and needs neither torch nor models."""
