"""From YAML to objects: file formats, defaults, and the building of a run; never a computation."""
