"""Edits, one a file: changes to a pre-trained encoder that train nothing first."""
