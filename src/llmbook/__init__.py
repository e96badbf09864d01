"""Helper package of The LLM Workbook.

Use the checks with ``from llmbook import check`` and then ``check.<exercise>(...)``;
draw with :func:`llmbook.figures.show`.
"""

from importlib.metadata import version

__version__ = version("llmbook")
