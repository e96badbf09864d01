"""Pictures: sized, so that nothing moves when they come, and fetched when they are near.

`llmbook._myst_nb` gives each Matplotlib figure a picture for either theme. The one that is not
shown is not fetched, since it is hidden and lazy; without scripts the light one is shown. All other
images of the book get their size from their file.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docutils import nodes
from PIL import Image, UnidentifiedImageError
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

SIDES = ("width", "height")


class picture(nodes.image):  # noqa: N801 (docutils' way to name nodes)
    """An image whose size in pixels is known."""


def image_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of an image in pixels; None where the file does not say."""
    if path.suffix != ".svg":
        try:
            with Image.open(path) as image:
                return image.size
        except (OSError, UnidentifiedImageError):
            return None
    root = re.search(r"<svg\b[^>]*>", path.read_text("utf-8", "replace"))
    if root is None:
        return None
    number = r"(\d+\.?\d*|\.\d+)"
    sides = [re.search(rf'\s{side}="{number}(?:px)?"', root[0]) for side in SIDES]
    if not all(sides):
        box = re.search(rf'\sviewBox="[-\d.]+[\s,]+[-\d.]+[\s,]+{number}[\s,]+{number}"', root[0])
        if box is None:
            return None
        return round(float(box[1])), round(float(box[2]))
    width, height = (round(float(side[1])) for side in sides if side)
    return width, height


class MakePictures(SphinxPostTransform):
    """Turn the book's images into pictures, but those whose size is not a number of pixels."""

    default_priority = 900  # after Sphinx has found all image files
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.image)):
            address = node["uri"]
            if "alt" not in node:
                logger.warning("image %s needs alt", address, location=node)
                continue
            if address not in self.env.images:  # on another site, or in the address itself
                continue
            if not {*SIDES, "scale"} & node.attributes.keys():
                size = image_size(Path(self.env.srcdir, address))
                node.attributes.update(zip(SIDES, map(str, size or ()), strict=False))
            if all(node.get(side, "").isdecimal() for side in SIDES):
                if "align" in node:
                    node["classes"].append(f"align-{node['align']}")
                node.replace_self(picture(**node.attributes))


def visit_picture(self: Any, node: picture) -> None:
    source = posixpath.join(self.builder.imgpath, quote(self.builder.images[node["uri"]]))
    size = {side: node[side] for side in SIDES}
    self.body.append(
        self.emptytag(node, "img", "\n", src=source, alt=node["alt"], loading="lazy", **size)
    )


def depart_picture(self: Any, node: picture) -> None:
    pass


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(picture, html=(visit_picture, depart_picture))
    app.add_post_transform(MakePictures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
