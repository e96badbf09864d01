"""What the published site needs to be read without network: service worker, file list, archive.

`complete` is the last step of `tools/publish.py`. It writes

- `service-worker.js`: that of `site/scripts`, with the version and the files to start with;
- `offline.json`: every file that saving the whole book keeps, with its size;
- `llm-workbook.zip`: the site in a folder, to be opened without a server.

The archive has the same bytes for the same site, and is made anew only when a file changed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from webapp import ARCHIVE, MANIFEST, OFFLINE_PAGE  # noqa: E402

WORKER, FILES = "service-worker.js", "offline.json"
SOURCE = ROOT / "site" / "scripts" / WORKER
PLACEHOLDER = re.compile(r"^const RELEASE = .*$", re.MULTILINE)
# What only machines ask for, what is there for download, and solutions as pages for readers without
# scripts, who have no service worker.
NOT_KEPT = re.compile(
    r"404\.html$|_sources/|cards/|.*/solution-[^/]*\.html$|.*\.(?:ipynb|xml|inv|zip|pdf|map|txt|buildinfo)$|(?:.*/)?\.[^/]*$"
)
# What every page loads before it shows anything.
LOADED = re.compile(
    r'<(?:link\b[^>]*?\brel="(?:stylesheet|preload|manifest|icon|shortcut icon)"[^>]*?\bhref'
    r'|script\b[^>]*?\bsrc)="([^":]+)"'
)
# Of no use in a folder of files, where browsers refuse it.
ONLINE_ONLY = re.compile(r'<link\b[^>]*?\brel="(?:preload|manifest)"[^>]*>\s*')
FOLDER = ARCHIVE.removesuffix(".zip")


def complete(target: Path, paths: Iterable[str], write: Callable[[str, bytes], None]) -> None:
    """Add to the site in `target`, which consists of `paths`, what makes it readable offline.

    Raises
    ------
    ValueError
        If the site lacks the page that is shown without network, or the worker its first line.
    """
    own = {WORKER, FILES, ARCHIVE}
    contents = {path: (target / path).read_bytes() for path in sorted(set(paths) - own)}
    kept = {path: data for path, data in contents.items() if not NOT_KEPT.match(path)}
    first = start(kept)
    digest = hashlib.sha256(SOURCE.read_bytes())
    for path, data in kept.items():
        digest.update(f"{path}\0{hashlib.sha256(data).hexdigest()}\0".encode())
    version = digest.hexdigest()[:16]
    listing = {
        "version": version,
        "bytes": sum(map(len, kept.values())),
        "start": first,
        "files": [[path, len(data)] for path, data in kept.items()],
    }
    write(FILES, json.dumps(listing, separators=(",", ":")).encode())
    release = json.dumps({"version": version, "start": first})
    worker, found = PLACEHOLDER.subn(
        lambda _: f"const RELEASE = {release};", SOURCE.read_text(encoding="utf-8"), count=1
    )
    if not found:
        raise ValueError(f"{SOURCE.name} has no line `const RELEASE = ...`")
    write(WORKER, worker.encode())
    write(ARCHIVE, archive(contents, target / ARCHIVE))


def start(kept: dict[str, bytes]) -> list[str]:
    """Return what the service worker fetches first: front page, offline page, what both load."""
    first: list[str] = []
    for page in ("index.html", f"{OFFLINE_PAGE}.html"):
        if page not in kept:
            raise ValueError(f"the site has no page {page}")
        loaded = LOADED.findall(kept[page].decode("utf-8"))
        first += [page, *(name for name in loaded if name in kept)]
    return list(dict.fromkeys(first))


def archive(contents: dict[str, bytes], made: Path) -> bytes:
    """Return a zip of the site, the one in the file `made` if it is of the same contents."""
    contents = {
        path: ONLINE_ONLY.sub("", data.decode("utf-8")).encode() if path.endswith(".html") else data
        for path, data in contents.items()
        if path not in (MANIFEST, "404.html")
        and not path.startswith((".", "cards/"))
        and not path.endswith(".xml")
    }
    digest = hashlib.sha256()
    for path, data in contents.items():
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    comment = digest.hexdigest().encode()
    try:
        with zipfile.ZipFile(made) as old:
            if old.comment == comment:
                return made.read_bytes()
    except (OSError, zipfile.BadZipFile):
        pass
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        new.comment = comment
        for path, data in contents.items():
            entry = zipfile.ZipInfo(f"{FOLDER}/{path}", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            new.writestr(entry, data, compresslevel=6)
    return buffer.getvalue()
