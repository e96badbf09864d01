"""Pictures of figures: sized, so that nothing moves when they come, and fetched when they are near.

`llmbook._myst_nb` gives each Matplotlib figure a picture for either theme. The one that is not
shown is not fetched, since it is hidden and lazy; without scripts the light one is shown.
"""

from __future__ import annotations

import posixpath
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


class picture(nodes.image):  # noqa: N801 (docutils' way to name nodes)
    """An image whose size in pixels is known."""


class MakePictures(SphinxPostTransform):
    """Turn images with width and height, both plain numbers, into pictures."""

    default_priority = 900  # after Sphinx has found and named all image files

    def run(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.image)):
            if all(node.get(side, "").isdecimal() for side in ("width", "height")):
                node.replace_self(picture(**node.attributes))


def visit_picture(self: Any, node: picture) -> None:
    source = posixpath.join(self.builder.imgpath, self.builder.images[node["uri"]])
    size = {side: node[side] for side in ("width", "height")}
    self.body.append(
        self.emptytag(node, "img", "\n", src=source, alt=node["alt"], loading="lazy", **size)
    )


def depart_picture(self: Any, node: picture) -> None:
    pass


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(picture, html=(visit_picture, depart_picture))
    app.add_post_transform(MakePictures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
