"""Checks of the part on attention."""
