"""Answers of a teacher on disk: safetensors shards and a manifest, keyed by what the teacher read."""
