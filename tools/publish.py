"""Publish the site: make of what Sphinx wrote into _build/html the light pages of _build/site.

Each page keeps its words and loses its weight: one style sheet, pruned to what the pages use, and
one deferred script stand for all those of the theme, drawings for its icon font, and a
content-security policy keeps everything on the site. What is named by its content (all of
``assets/``) may be kept by browsers for ever. Only what changed is written; what is no longer made
is removed.

A page is read as text, not parsed: 26 pages hold 40 MB. What this step does not know, it refuses.
"""

from __future__ import annotations

import argparse
import base64
import graphlib
import hashlib
import html
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from posixpath import dirname, join, normpath, relpath
from typing import Any
from urllib.parse import unquote, urlsplit

from fonts import MATH_FONTS, RARE, RARE_CLASSES, font_classes, subset
from page_text import INSIDE, attributes, mended, squeeze, without_comments, words

ROOT = Path(__file__).resolve().parent.parent
ASSETS = "assets"
NODE_PACKAGES = ("esbuild", "lightningcss", "purgecss", "@fortawesome/fontawesome-free")

# No page connects to another host. What a reader asks for goes through a frame: a page of
# site/pages, with a policy of its own.
POLICY = (
    "default-src 'self'; script-src 'self' '{inline}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'"
)

# The theme's files that the site does without, and what stands for them.
LEFT_OUT = {
    "fontawesome.js": "the drawings that this step puts in",
    "bootstrap.js": "site/scripts/menus.js",
    "clipboard.min.js": "site/scripts/copy.js",
    "copybutton.js": "site/scripts/copy.js",
    "searchtools.js": "the site's own search",
    "language_data.js": "the site's own search",
    "searchindex.js": "the site's own search",
    "sphinx_highlight.js": "the site's own search",
    "doctools.js": "the site's own search",  # its keys, and words for the scripts above
}
# The same of parts of its scripts, each a statement that has to be found there once.
PARTS_LEFT_OUT = {
    "pydata-sphinx-theme.js": {
        re.compile(
            r'"complete"===document\.readyState\?(\w+)\(\)'
            r':window\.addEventListener\("load",\1\)'
        ): "site/scripts/scrolling.js",
    },
}
# Scripts that are needed only where a page has something of the class.
NEEDED_BY = {"design-tabs.js": "sd-tab-label"}
# Inline scripts that the site does without: site/scripts/inline.js stands for the first; the others
# serve the theme's search and switch of versions.
INLINE = re.compile(
    r"\s*(?:document\.documentElement\.dataset\.mode = |DOCUMENTATION_OPTIONS\.\w+ = )"
)
# The theme's handlers in HTML attributes, as site/scripts/buttons.js knows them.
HANDLERS = {"toggleFullScreen()": "fullscreen", "window.print()": "print"}
# A host shows it in the place of pages at any depth: it loads nothing, and stays as it is.
NOT_FOUND = "404.html"
SLOT = "<!--slot-->"
SCRIPT = re.compile(rf"<script\b({INSIDE})>(.*?)</script>[ \t]*\n?", re.DOTALL)
LINK = re.compile(rf"<link\b({INSIDE})>\s*")
META = re.compile(r'<meta\s+name="(?:viewport|docsearch:\w+)"[^>]*>\s*')
ICON = re.compile(
    r'<(i|span)((?:\s[^<>]*?)?\sclass="(?=[^"]*\bfa-)[^"]*"[^<>]*)>\s*</\1>', re.DOTALL
)
ICON_STYLES = {
    **dict.fromkeys(("fa-solid", "fas", "fa"), "solid"),
    **dict.fromkeys(("fa-regular", "far"), "regular"),
    **dict.fromkeys(("fa-brands", "fab"), "brands"),
}
HANDLER = re.compile(r"""\son([a-z]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
STATIC = re.compile(r'(?<=\s)(src|href|poster)="((?:\.\./)*_static/[^"]*)"')
SOURCE = re.compile(r'\shref="((?:\.\./)*_sources/[^"#?]*)"')
# Cards for other sites have whole addresses, in the head and in the files at the root.
CARD = re.compile(r'\scontent="[^"]*?\b(_static/[^"?#]+)')
NAMED_IN_FILE = re.compile(r"""(?<![\w/])(?:\.?/)?(_static/[^"'<>?#\s]+)""")
# What a page's scripts may not hold: it would still be there after this step.
UNREACHED = re.compile(
    r'\b(?:href|poster|src|srcset)=\\"(?:\.\./)*_static/[^"\\\s]*|<i class=\\"fa[^"]*'
)
PICTURE = re.compile(r"\b_images/([^\"'\\<>?#\s]+)")
# How the site's scripts ask for others.
ASKED = re.compile(r"""\b(?:asset|load)\(\s*(["'])([\w-]+)\1""")
IMAGE = re.compile(rf"<img\b({INSIDE})>")
# The theme's, all square; its style sheet makes them as high as the text beside them.
LOGO = re.compile(r"_static/images/logo_\w+\.(?:png|svg)$")
CSS_URL = re.compile(r"""url\(\s*(["']?)([^"')]+)\1\s*\)""")
CSS_IMPORT = re.compile(r"""@import\s+(?:url\()?\s*["']([^"']+)["']\s*\)?\s*;""")


# What a later step adds to the site: it gets the target, the paths in it and the way to write.
Complete = Callable[[Path, Iterable[str], Callable[[str, bytes], None]], None]


class PublishError(Exception):
    """The site cannot be published; the message says what is missing and where."""


def digest(*parts: bytes | str) -> str:
    """Return a short name for contents."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "big"))
        sha.update(data)
    return sha.hexdigest()[:16]


@lru_cache(32)
def webp(data: bytes) -> bytes | None:
    """Return a raster image as WebP, or None where that is no tenth smaller.

    Nothing is lost of an image that had lost nothing.
    """
    from PIL import Image

    target = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        lossy = image.format == "JPEG"
        image.save(target, "WEBP", lossless=not lossy, quality=82 if lossy else 100, method=4)
    smaller = target.getvalue()
    return smaller if len(smaller) < 0.9 * len(data) else None


@dataclass
class Page:
    """What is remembered of a page from one run to the next."""

    source: str  # digest of the page as Sphinx wrote it
    words: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)  # paths below _build/html, in order
    scripts: list[str] = field(default_factory=list)
    letters: str = ""  # those beyond ASCII
    rare: dict[str, str] = field(default_factory=dict)  # those in elements of the rare classes
    inputs: dict[str, str] = field(default_factory=dict)  # other files it depends on: their digests
    assets: list[str] = field(default_factory=list)  # what was made of them
    kept: list[str] = field(default_factory=list)  # what it names by the path of _build/html
    pictures: list[str] = field(default_factory=list)  # names in _images
    output: str = ""  # digest of the page as it was published
    key: str = ""  # digest of all that it was made from


class Publisher:
    """One run: reads `source`, writes `target`, remembers in `memory` what was made of what."""

    def __init__(
        self,
        source: Path = ROOT / "_build" / "html",
        target: Path = ROOT / "_build" / "site",
        memory: Path = ROOT / "_build" / "site.json",
        own: Path = ROOT / "site",
        node_modules: Path = ROOT / "node_modules",
        complete: Complete | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.source, self.target, self.memory = source, target, memory
        self.own, self.node_modules = own, node_modules
        self.complete, self.say = complete, say
        self.produced: set[str] = set()
        self.written: list[str] = []
        self.names: dict[str, str] = {}  # names in assets/ of files below the source
        self.icon = lru_cache(None)(self._icon)
        self.digest_of = lru_cache(None)(self._digest_of)

    # -- Files ------------------------------------------------------------------------------------

    def read(self, path: str, wanted_by: str) -> bytes:
        """Read a file below the source."""
        try:
            return (self.source / path).read_bytes()
        except OSError:
            raise PublishError(f"{wanted_by} needs {path}, which the build did not make") from None

    def write(self, path: str, data: bytes) -> None:
        """Write a file below the target, at once and only if it changed."""
        self.produced.add(path)
        file = self.target / path
        try:
            if file.stat().st_size == len(data) and file.read_bytes() == data:
                return
        except OSError:
            pass
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(file)
        self.written.append(path)

    def asset(self, path: str, wanted_by: str) -> str:
        """Publish a file below the source under a name that says what is in it; return the name."""
        if path not in self.names:
            self.names[path] = self.named(PurePosixPath(path).name, self.read(path, wanted_by))
        return self.names[path]

    def named(self, name: str, data: bytes) -> str:
        """Publish contents as an asset."""
        stem, dot, suffix = name.partition(".")
        name = f"{stem}.{digest(data)}{dot}{suffix}"
        self.write(f"{ASSETS}/{name}", data)
        return name

    @cached_property
    def tool(self) -> str:
        """The digest of this program and of the packages that it uses or bundles."""
        for package in NODE_PACKAGES:
            if not (self.node_modules / package / "package.json").is_file():
                raise PublishError(
                    f"{package} is missing from {self.node_modules.name}; run `npm ci`"
                )
        names = ("publish.py", "page_text.py", "fonts.py", "assets.mjs")
        lock = self.node_modules / ".package-lock.json"  # what npm has installed
        parts = [*map(Path(__file__).with_name, names), *([lock] if lock.is_file() else [])]
        return digest(*(path.read_bytes() for path in parts))

    def _icon(self, style: str, name: str) -> tuple[str, str] | None:
        folder = self.node_modules / "@fortawesome/fontawesome-free/svgs" / style
        try:
            svg = (folder / f"{name}.svg").read_text(encoding="utf-8")
        except OSError:
            return None
        box = re.search(r'viewBox="([^"]*)"', svg)
        shape = "".join(re.findall(r"<path\b[^>]*>", svg))
        return (box[1], re.sub(r'\sfill="currentColor"', "", shape)) if box and shape else None

    def _digest_of(self, path: str) -> str:
        return digest((self.source / path).read_bytes())

    # -- A page -----------------------------------------------------------------------------------

    def pages(self) -> list[str]:
        """Return the pages that Sphinx wrote, as paths below the source."""
        found = (p.relative_to(self.source).as_posix() for p in self.source.rglob("*.html"))
        return sorted(p for p in found if not p.startswith("_") and p != NOT_FOUND)

    def light(self, path: str, text: str, page: Page) -> str:
        """Return a page without the theme's weight; note in `page` what it needs."""
        here = dirname(path)

        def local(address: str) -> str:
            return normpath(join(here, unquote(urlsplit(address).path)))

        def script(match: re.Match[str]) -> str:
            given = attributes(match[1])
            if given.get("type", "text/javascript") != "text/javascript":
                return match[0]  # data
            if "src" not in given:
                if not INLINE.match(match[2]):
                    start = " ".join(match[2].split())[:60]
                    raise PublishError(
                        f"{path} has an inline script ({start} ...), which the content-security "
                        "policy would stop; move it to site/scripts"
                    )
                return ""
            if urlsplit(given["src"]).netloc:
                raise PublishError(f"{path} loads {given['src']} from another host")
            page.scripts.append(local(given["src"]))
            return ""

        def link(match: re.Match[str]) -> str:
            given = attributes(match[1])
            relation = given.get("rel", "")
            if relation == "preload" and given.get("as") == "script":
                return ""
            if relation != "stylesheet":
                return match[0]
            if urlsplit(given["href"]).netloc:
                raise PublishError(f"{path} loads {given['href']} from another host")
            page.styles.append(local(given["href"]))
            return ""

        def icon(match: re.Match[str]) -> str:
            classes = attributes(match[2])["class"].split()
            style = next((ICON_STYLES[c] for c in classes if c in ICON_STYLES), None)
            names = [c.removeprefix("fa-") for c in classes if c.startswith("fa-")]
            drawing = next(
                (d for name in names if style and (d := self.icon(style, name)) is not None), None
            )
            if drawing is None:
                raise PublishError(
                    f"{path} has an icon that Font Awesome Free has not: {' '.join(classes)}"
                )
            kept = [c for c in classes if c not in ICON_STYLES and not c.startswith("fa-")]
            if "fa-lg" in classes:
                kept.insert(0, "fa-icon-lg")
            rest = re.sub(r'\s(?:class|aria-hidden)="[^"]*"', "", match[2])
            box, shape = drawing
            return (
                f'<svg class="{" ".join(["fa-icon", *kept])}"{rest} aria-hidden="true" '
                f'viewBox="{box}">{shape}</svg>'
            )

        def handler(match: re.Match[str]) -> str:
            value = match[2] or match[3] or ""
            action = HANDLERS.get(html.unescape(value))
            if match[1].lower() != "click" or action is None:
                raise PublishError(
                    f'{path} has a handler on{match[1]}="{value}", which the content-security '
                    "policy would stop; listen in site/scripts"
                )
            return f' data-action="{action}"'

        def static(match: re.Match[str]) -> str:
            target = local(match[2])
            name = self.asset(target, path)
            page.inputs[target] = self.digest_of(target)
            page.assets.append(name)
            return f'{match[1]}="{relpath(f"{ASSETS}/{name}", here or ".")}"'

        def image(match: re.Match[str]) -> str:
            tag, given = match[0], attributes(match[1])
            address = given.get("src", "")
            if not address or urlsplit(address).scheme or address.startswith("/"):
                return tag
            target = local(address)
            data = self.read(target, path)
            page.inputs[target] = self.digest_of(target)
            if not {"width", "height"} & given.keys():
                if not LOGO.match(target):
                    raise PublishError(
                        f"{path} does not say how large {target} is: the page would move when it "
                        "comes; give it width and height"
                    )
                tag = f'<img width="16" height="16"{tag[4:]}'
            if "loading" not in given:  # the theme's logos, in a menu that most readers never open
                tag = f'<img loading="lazy"{tag[4:]}'
            if target.endswith((".png", ".jpg", ".jpeg")):
                smaller = webp(data)
                if smaller is not None:
                    name = self.named(f"{PurePosixPath(target).stem}.webp", smaller)
                    page.assets.append(name)
                    source = relpath(f"{ASSETS}/{name}", here or ".")
                    tag = f'<picture><source srcset="{source}" type="image/webp">{tag}</picture>'
            return tag

        head, end, body = without_comments(text).partition("</head>")
        if not end:
            raise PublishError(f"{path} has no head")
        head = META.sub("", LINK.sub(link, head))
        head, found = re.subn(r"(<meta\s+charset=[^>]*>)\s*", rf"\1{SLOT}", head, count=1)
        if not found:
            raise PublishError(f"{path} does not name its charset")
        # Without scripts nobody else says it.
        head = head.replace('data-theme="auto"', 'data-theme="light"', 1)
        text = SCRIPT.sub(script, head + end + body)
        text = ICON.sub(icon, text)
        text = HANDLER.sub(handler, text)
        text = mended(IMAGE.sub(image, text))
        text = STATIC.sub(static, text)
        page.kept = sorted(
            {local(address) for address in SOURCE.findall(text)} | set(CARD.findall(head))
        )
        page.pictures = sorted(set(PICTURE.findall(text)))
        page.words = sorted(words(text))
        page.letters = "".join(sorted(letter for letter in set(text) if letter > "~"))
        for name, some in RARE.findall(text):
            page.rare[name] = "".join(sorted({*page.rare.get(name, ""), *html.unescape(some)}))
        return squeeze(text)

    # -- Style sheet and scripts ------------------------------------------------------------------

    def style(self, path: str, wanted_by: str) -> str:
        """Return a style sheet with what it imports; the files that it names become assets."""
        text = self.read(path, wanted_by).decode("utf-8-sig")
        text = re.sub(r'@charset "[^"]*";', "", text)
        text = CSS_IMPORT.sub(
            lambda match: self.style(normpath(join(dirname(path), match[1])), path), text
        )

        def url(match: re.Match[str]) -> str:
            address = match[2]
            if address.startswith(("data:", "#", "llmbook:")):
                return match[0]
            if urlsplit(address).netloc:
                raise PublishError(f"{path} loads {address} from another host")
            return f'url("llmbook:{normpath(join(dirname(path), urlsplit(address).path))}")'

        return CSS_URL.sub(url, text)

    def script(self, path: str) -> str:
        """Return a script of the theme without the parts that the site does without."""
        text = self.read(path, "a page").decode()
        for part, instead in PARTS_LEFT_OUT.get(PurePosixPath(path).name, {}).items():
            text, found = part.subn("void 0", text)
            if found != 1:
                raise PublishError(
                    f"{path} has {found} times, not once, the part that {instead} stands for; "
                    "compare it with the pattern in PARTS_LEFT_OUT"
                )
        return text

    def bundles(self, pages: dict[str, Page], remembered: dict[str, Any]) -> dict[str, Any]:
        """Return names of the style sheet and the scripts, made anew only if something changed."""
        everything = {word for page in pages.values() for word in page.words}
        scripts = [
            path
            for path in merged(page.scripts for page in pages.values())
            if (name := PurePosixPath(path).name) not in LEFT_OUT
            and (name not in NEEDED_BY or NEEDED_BY[name] in everything)
        ]
        styles = merged(page.styles for page in pages.values())
        own_scripts = sorted((self.own / "scripts").rglob("*.js"))
        for name in ("main", "inline"):
            if self.own / "scripts" / f"{name}.js" not in own_scripts:
                raise PublishError(f"site/scripts/{name}.js is missing")
        texts = {
            path.relative_to(self.own).as_posix(): path.read_text("utf-8") for path in own_scripts
        }
        theirs = {path: self.script(path) for path in scripts}
        for text in (*theirs.values(), *texts.values()):
            everything.update(re.findall(r"[A-Za-z_][\w-]*", text))
        own_styles = sorted(
            (self.own / "styles").glob("*.css"), key=lambda p: (p.name != "book.css", p.name)
        )
        job: dict[str, Any] = {
            "styles": [{"name": path, "text": self.style(path, "a page")} for path in styles],
            "own": "\n".join(path.read_text("utf-8") for path in own_styles),
            "words": sorted(everything),
            "scripts": [{"name": path, "text": text} for path, text in theirs.items()],
        }
        letters = {*map(chr, range(32, 127)), *(c for page in pages.values() for c in page.letters)}
        rare = {
            name: sorted({c for page in pages.values() for c in page.rare.get(name, "")})
            for name in sorted(RARE_CLASSES)
        }
        key = digest(
            self.tool,
            *map(json.dumps, (job, texts, rare)),
            "".join(sorted(letters)),
        )
        job |= {
            "main": str(self.own / "scripts" / "main.js"),
            "inline": str(self.own / "scripts" / "inline.js"),
            "pages": {p.stem: str(p) for p in sorted((self.own / "scripts/pages").glob("*.js"))},
        }
        if (
            remembered.get("key") == key
            and self.unchanged(remembered["inputs"])
            and all((self.target / path).is_file() for path in remembered["files"])
        ):
            self.produced.update(remembered["files"])
            return remembered
        made = self.run_node(job)
        before = set(self.produced)
        inputs: dict[str, str] = {}
        fonts: dict[str, str] = {}
        icons = {letter for letter in made["style"] if "\ue000" <= letter <= "\uf8ff"}
        families = font_classes(made["style"])

        def named(match: re.Match[str]) -> str:
            path = match[2]
            self.read(path, "a style sheet")
            inputs[path] = self.digest_of(path)
            name = PurePosixPath(path).name
            if path.endswith(".ttf"):
                return f"url({self.named('icons.woff', subset(self.source / path, icons))})"
            # Of the fonts for formulas, the letters that the book has are a third or less.
            whole = self.node_modules / "katex/dist/fonts" / name.replace(".woff2", ".ttf")
            if name.startswith("KaTeX_") and whole.is_file():
                classes = families.get(family := name.partition("-")[0], set())
                few = classes and classes <= RARE_CLASSES
                wanted = {c for name in classes for c in rare[name]} if few else letters
                # Of use to small letters on coarse screens.
                hinting = family in ("KaTeX_Main", "KaTeX_Math")
                some = subset(whole, wanted, layout_features=["*"], hinting=hinting)
                if len(some) < (self.source / path).stat().st_size:
                    fonts[name] = self.named(name.replace(".woff2", ".woff"), some)
                    return f'url({fonts[name]}) format("woff")'
            fonts[name] = self.asset(path, "a style sheet")
            return f"url({fonts[name]}){match[3] or ''}"

        style = re.sub(
            r'url\((["\']?)llmbook:([^"\')]+)\1\)(\s*format\("woff2"\))?', named, made["style"]
        )
        result = {
            "key": key,
            "inputs": inputs,
            "style": self.named("site.css", style.encode()),
            "script": self.named("site.js", made["script"].encode()),
            "inline": made["inline"],
            "pages": {n: self.named(f"{n}.js", t.encode()) for n, t in made["pages"].items()},
            "fonts": {name: font for name, font in fonts.items() if name in MATH_FONTS},
        }
        self.write("licenses.txt", self.licenses(made["packages"], made["notices"]).encode())
        result["files"] = sorted(
            {
                *self.produced - before,
                "licenses.txt",
                *(f"{ASSETS}/{name}" for name in self.names.values() if f"url({name})" in style),
            }
        )
        return result

    def run_node(self, job: dict[str, Any]) -> dict[str, Any]:
        """Have Node's tools make the bundles."""
        program = Path(__file__).with_name("assets.mjs")
        try:
            done = subprocess.run(
                ["node", str(program)],
                input=json.dumps(job),
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
        except FileNotFoundError:
            raise PublishError("Node.js is missing; `make book` installs it") from None
        if done.returncode:
            raise PublishError(f"the style sheet and the scripts cannot be made:\n{done.stderr}")
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def licenses(self, packages: Iterable[str], notices: Iterable[str]) -> str:
        """Return the licenses of what the bundles carry."""
        vendored = {file.parent.name for file in self.source.glob("_static/vendor/*/*.js")}
        description = json.loads((self.node_modules.parent / "package.json").read_text("utf-8"))
        copied = {
            name for name in description["dependencies"] if name.partition(".")[0] in vendored
        }
        texts = []
        for folder in sorted({"@fortawesome/fontawesome-free", "katex", *copied, *packages}):
            package = json.loads((self.node_modules / folder / "package.json").read_text("utf-8"))
            texts.append(f"{folder} {package['version']}: {package['license']}")
            for file in sorted((self.node_modules / folder).glob("LICEN[CS]E*")):
                texts[-1] += f"\n\n{file.read_text('utf-8').strip()}"
        texts += [
            f"{file.relative_to(self.source).as_posix()}\n\n{file.read_text('utf-8')}"
            for file in sorted(self.source.glob("_static/scripts/bootstrap*LICENSE*"))
        ]
        line = "\n\n" + "-" * 80 + "\n\n"
        return line.join(text.strip() for text in (*sorted(notices), *texts)) + "\n"

    def vendored(self) -> dict[str, str]:
        """Publish the scripts of npm packages that pages load on demand; return their names."""
        found = {}
        for file in sorted(self.source.glob("_static/vendor/*/*.js")):
            name = file.parent.name
            if name in found:
                raise PublishError(f"_static/vendor/{name} must hold one script")
            found[name] = self.asset(file.relative_to(self.source).as_posix(), "a page")
        return found

    def frames(self, names: dict[str, str]) -> dict[str, str]:
        """Publish the pages of ``site/pages``: <name>.html runs the bundle <name>-kernel."""
        found = {}
        for file in sorted((self.own / "pages").glob("*.html")):
            script = names.get(f"{file.stem}-kernel")
            if script is not None:
                text = file.read_text("utf-8").replace("{script}", script)
                found[f"{file.stem}-frame"] = self.named(file.name, text.encode())
        return found

    def asked(self, known: dict[str, str]) -> dict[str, str]:
        """Return the data that the site's scripts ask for, which Sphinx wrote below ``_static``.

        They keep their names: they change with every page, and all pages name them.
        """
        found = {}
        for file in sorted((self.own / "scripts").rglob("*.js")):
            for _, name in ASKED.findall(file.read_text("utf-8")):
                if name in known or name in found:
                    continue
                data = self.read(f"_static/{name}.js", f"site/{file.relative_to(self.own)}")
                self.write(f"data/{name}.js", data)
                found[name] = f"../data/{name}.js"
        return found

    def others(self, pages: Iterable[Page]) -> Iterator[str]:
        """Yield the other files of the site, which keep their names."""
        kept = {path for page in pages for path in page.kept}
        pictures = {name for page in pages for name in page.pictures}
        for file in self.source.rglob("*"):
            path = file.relative_to(self.source).as_posix()
            # Of the pictures, Sphinx leaves there what an earlier build had made.
            if not file.is_file() or path.startswith((".", "_i", "_s")) or path in LEFT_OUT:
                continue
            if path.endswith(".html") and not path.startswith("_") and path != NOT_FOUND:
                continue  # a page
            yield path
            if file.suffix == ".js":
                text = file.read_text("utf-8")
                if found := UNREACHED.search(text):
                    raise PublishError(
                        f"{path} names {found[0]}, which this step changes in pages but not in "
                        "scripts"
                    )
                pictures.update(PICTURE.findall(text))
            if file.suffix in (".webmanifest", ".xml"):
                kept.update(NAMED_IN_FILE.findall(file.read_text("utf-8")))
        yield from (f"_images/{unquote(name)}" for name in pictures)
        yield from kept

    # -- All of it --------------------------------------------------------------------------------

    def slot(self, path: str, page: Page, bundles: dict[str, Any], names: dict[str, str]) -> str:
        """Return what stands at the top of a page's head."""
        assets = relpath(ASSETS, dirname(path) or ".")
        inline = bundles["inline"]
        inline_hash = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        policy = POLICY.format(inline=f"sha256-{inline_hash}")
        fonts = "".join(
            f'<link rel="preload" href="{assets}/{name}" as="font" '
            f'type="font/{name.rpartition(".")[2]}" crossorigin>\n'
            for name in (bundles["fonts"].values() if "katex" in page.words else ())
        )
        return (
            '\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            f"<script>{inline}</script>\n"
            f'<link rel="stylesheet" href="{assets}/{bundles["style"]}">\n{fonts}'
            f'<script defer src="{assets}/{bundles["script"]}" '
            f'data-assets="{html.escape(json.dumps(names, separators=(",", ":")))}"></script>\n'
        )

    def recall(self, tool: str) -> dict[str, Any]:
        """Return what the last run remembered, if it is of use."""
        try:
            memory: dict[str, Any] = json.loads(self.memory.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return memory if memory.get("tool") == tool else {}

    def unchanged(self, inputs: dict[str, str]) -> bool:
        """Tell whether files below the source have the digests that they had."""
        return all(
            (self.source / path).is_file() and self.digest_of(path) == name
            for path, name in inputs.items()
        )

    def still_true(self, page: Page) -> bool:
        """Tell whether what a page depends on and what was made of it are as they were."""
        if not self.unchanged(page.inputs):
            return False
        made = {f"{ASSETS}/{name}" for name in page.assets}
        if not all((self.target / path).is_file() for path in made):
            return False
        self.produced |= made
        return True

    def run(self) -> None:
        """Publish the site."""
        started = time.perf_counter()
        self.refuse_other_folders()
        self.write(".nojekyll", b"")  # some hosts leave out folders that begin with _
        paths = self.pages()
        if "index.html" not in paths:
            raise PublishError(f"there is no front page in {self.source}: run `make book`")
        memory = self.recall(self.tool)
        pages: dict[str, Page] = {}
        light: dict[str, str] = {}

        def lighten(path: str, source: bytes, name: str) -> None:
            pages[path] = Page(name)
            light[path] = self.light(path, source.decode("utf-8"), pages[path])

        for path in paths:
            source = self.read(path, "the site")
            name = digest(source)
            old = memory.get("pages", {}).get(path)
            if old and old["source"] == name and self.still_true(page := Page(**old)):
                pages[path] = page
            else:
                lighten(path, source, name)

        for path, page in pages.items():
            for needed in page.kept:
                if not (self.source / needed).is_file():
                    raise PublishError(f"{path} needs {needed}, which the build did not make")
        bundles = self.bundles(pages, memory.get("bundles", {}))
        names = {**self.vendored(), **bundles["pages"]}
        names |= self.frames(names)
        names |= self.asked(names)
        for path, page in pages.items():
            slot = self.slot(path, page, bundles, names)
            key = digest(self.tool, page.source, slot, json.dumps(page.inputs))
            if path not in light and page.key == key and self.is_published(path, page.output):
                self.produced.add(path)
                continue
            if path not in light:
                lighten(path, self.read(path, "the site"), page.source)
            data = light[path].replace(SLOT, slot, 1).encode()
            pages[path].key, pages[path].output = key, digest(data)
            self.write(path, data)
        for path in self.others(pages.values()):
            self.write(path, self.read(path, "a page"))
        if self.complete is not None:
            self.complete(self.target, set(self.produced), self.write)
        self.remove_others()
        memory = {
            "tool": self.tool,
            "bundles": bundles,
            "pages": {path: asdict(page) for path, page in pages.items()},
        }
        temporary = self.memory.with_suffix(".new")
        temporary.write_text(json.dumps(memory), encoding="utf-8")
        temporary.replace(self.memory)
        changed = sum(path.endswith(".html") for path in self.written)
        weight = [(self.target / ASSETS / bundles[b]).stat().st_size for b in ("style", "script")]
        self.say(
            f"Published {len(pages)} pages ({changed} changed) in {self.target}; style sheet "
            f"{weight[0] / 1024:.0f} KiB, script {weight[1] / 1024:.0f} KiB, "
            f"{time.perf_counter() - started:.1f} s."
        )

    def is_published(self, path: str, output: str) -> bool:
        """Tell whether a page lies in the target as it was published."""
        try:
            return digest((self.target / path).read_bytes()) == output
        except OSError:
            return False

    def refuse_other_folders(self) -> None:
        """Refuse a target that holds what is not ours: it would be removed in the end."""
        source, target = self.source.resolve(), self.target.resolve()
        if source.is_relative_to(target) or target.is_relative_to(source):
            raise PublishError(f"--target must lie outside --source, got {self.target}")
        if target.is_dir() and any(target.iterdir()) and not (target / ".nojekyll").is_file():
            raise PublishError(
                f"--target must be empty or a site of an earlier run, got {self.target}"
            )

    def remove_others(self) -> None:
        """Remove what this run did not produce, and empty folders."""
        for file in sorted(self.target.rglob("*"), reverse=True):
            if file.is_dir() and not file.is_symlink():
                if not any(file.iterdir()):
                    file.rmdir()
            elif file.relative_to(self.target).as_posix() not in self.produced:
                file.unlink()


def merged(lists: Iterable[list[str]]) -> list[str]:
    """Return what is in some lists, in an order that agrees with each of them.

    >>> merged([["a", "b"], ["c", "d"], ["b", "c"]])
    ['a', 'b', 'c', 'd']
    """
    order: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for names in lists:
        for before, name in zip((None, *names), names, strict=False):
            order.add(name, *() if before is None else (before,))
    try:
        return list(order.static_order())
    except graphlib.CycleError as error:
        raise PublishError(f"pages load these in different orders: {error.args[1]}") from None


def main() -> None:
    """Publish, or say why not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--source", type=Path, default=ROOT / "_build" / "html")
    parser.add_argument("--target", type=Path, default=ROOT / "_build" / "site")
    given = parser.parse_args()
    memory = given.target.with_name(given.target.name + ".json")
    import offline_files

    try:
        Publisher(given.source, given.target, memory, complete=offline_files.complete).run()
    except (PublishError, ValueError) as error:
        sys.exit(f"publish: {error}")


if __name__ == "__main__":
    main()
