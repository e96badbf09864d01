"""Elements of HTML that docutils has no node for."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


class html_element(nodes.General, nodes.TextElement):  # noqa: N801 (docutils' way to name nodes)
    """An element of HTML with its attributes."""


def element(tag: str, *children: nodes.Node | str, **attributes: str | int | None) -> html_element:
    """Return an element; ``class_`` gives its class, ``data_label`` its ``data-label``.

    An attribute that is None stands without a value. Other extensions find the classes where all
    nodes have them.
    """
    named = {
        name.rstrip("_").replace("_", "-"): None if value is None else str(value)
        for name, value in attributes.items()
    }
    content = [nodes.Text(child) if isinstance(child, str) else child for child in children]
    classes = (named.get("class") or "").split()
    return html_element("", "", *content, tag=tag, attributes=named, classes=classes)


def start_tag(tag: str, attributes: dict[str, str | None]) -> str:
    given = "".join(
        f" {name}" if value is None else f' {name}="{escape(value)}"'
        for name, value in attributes.items()
    )
    return f"<{tag}{given}>"


def visit_html_element(self: Any, node: html_element) -> None:
    self.body.append(start_tag(node["tag"], node["attributes"]))


def depart_html_element(self: Any, node: html_element) -> None:
    if node["tag"] not in ("input", "br"):
        self.body.append(f"</{node['tag']}>")
    if node["tag"] not in ("a", "b", "input", "span"):
        self.body.append("\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(html_element, html=(visit_html_element, depart_html_element))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
