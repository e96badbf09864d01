"""The book's table of contents: its parts, and the order in which a reader meets its pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sphinx.environment import BuildEnvironment
from sphinx_external_toc.api import SiteMap


def parts(site_map: SiteMap) -> list[tuple[str, list[str]]]:
    """Return the parts of _toc.yml, captions and pages; the front page is in none of them."""

    def pages(tree: Any) -> Iterator[str]:
        for item in tree.items:
            yield str(item)
            if item in site_map:
                for subtree in site_map[item].subtrees:
                    yield from pages(subtree)

    return [(tree.caption or "", list(pages(tree))) for tree in site_map.root.subtrees]


def in_order(env: BuildEnvironment) -> list[str]:
    """Return all pages: depth first through the tables of contents, then those in none."""
    seen: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in env.all_docs and name not in seen:
            seen[name] = None
            for child in env.toctree_includes.get(name, []):
                visit(child)

    visit(env.config.root_doc)
    return [*seen, *sorted(env.all_docs.keys() - seen)]
