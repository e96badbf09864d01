"""The checks: one package a part of the book, one module an exercise, named as its label.

Learners reach them through :mod:`llmbook.check`.
"""
