"""Checks of the part on building a GPT, one module an exercise."""
