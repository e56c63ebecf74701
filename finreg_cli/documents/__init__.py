"""Readers of source documents, and the supervised workers in which they run."""
