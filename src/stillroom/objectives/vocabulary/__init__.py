"""Objectives that compare distributions over two vocabularies."""
