"""The step that makes the published site of what Sphinx wrote, on a site of two pages."""

import base64
import doctest
import hashlib
import html
import io
import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

import fonts
import page_text
import publish

HEAD = """<!DOCTYPE html>


<html lang="en" data-content_root="{root}" data-theme="auto">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1.0" />
    <title>{title}</title>
    <!-- of no use to readers -->
    <script data-cfasync="false">
      document.documentElement.dataset.mode = localStorage.getItem("mode") || "auto";
    </script>
    <link href="{root}_static/styles/theme.css?digest=1" rel="stylesheet" />
    <link rel="stylesheet" type="text/css" href="{root}_static/book-theme.css?v=2" />
    <script defer src="{root}_static/scripts/fontawesome.js?digest=1"></script>
    <link rel="preload" as="script" href="{root}_static/scripts/bootstrap.js?digest=1" />
    <script src="{root}_static/doctools.js?v=3"></script>
    <script src="{root}_static/documentation_options.js?v=3"></script>
    <script>DOCUMENTATION_OPTIONS.pagename = '{title}';</script>
    <link rel="icon" href="{root}_static/favicon.svg"/>
    <meta property="og:image" content="https://example.org/_static/cards/index.png">
  </head>
  <body>
"""
FRONT = """
    <button onclick="window.print()"><i class="fas fa-rocket"></i> Print</button>
    <i class="theme-switch fa-solid fa-sun fa-lg" data-mode="light" aria-hidden="true"></i>
    <p class="used">Text with <span class="katex">x</span></p>
    <img alt="A drawing" height="20" width="30" src="_images/drawing.svg">
    <img alt="A photo" height="48" width="64" src="_images/photo.png" />


    <pre>one


two</pre>
    <script type="application/json">{"a": 1}</script>
    <a href="_sources/index.md">source</a> <a href="part/page.html">next</a>
"""
PAGE = '    <div class="cell_input"><p class="only-here">Code</p></div>\n'
FOOT = """    <script defer src="{root}_static/scripts/bootstrap.js?digest=1"></script>
    <script defer src="{root}_static/scripts/pydata-sphinx-theme.js?digest=1"></script>
  </body>
</html>
"""
FILES = {
    "_static/styles/theme.css": '@import "../basic.css";\n.used { color: #ff0000 }',
    "_static/basic.css": ".never { color: blue } .only-here { background: url(dot.png) }",
    "_static/book-theme.css": "/*! Licensed with thanks */ .added-by-script { color: green }",
    "_static/scripts/fontawesome.js": "throw new Error('never loaded');",
    "_static/scripts/bootstrap.js": "window.bootstrap = { never: 'never' };",
    "_static/scripts/pydata-sphinx-theme.js": (
        '(()=>{function I(){slow()}window.theme="kept "+NAME,"complete"===document.readyState'
        '?I():window.addEventListener("load",I)})();'
    ),
    "_static/doctools.js": "throw new Error('never loaded');",
    "_static/documentation_options.js": "const NAME = 'theme' + '-name';",
    "_static/favicon.svg": '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"/>',
    "_static/cards/index.png": "card",
    "_static/unused.js": "of no use",
    "_static/items.js": "window.items = [1];",
    "_static/vendor/plotly/plotly-small.min.js": "window.Plotly = {};",
    "_images/drawing.svg": '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 20"></svg>',
    "_sources/index.md": "# Source",
    "_sources/part/page.md": "# Offered by no page",
    "searchindex.js": "Search.setIndex({})",
    "sitemap.xml": "<urlset/>",
    "part/page/solution-one.0123456789.js": 'llmbook.solution("one", "<p>1</p>");',
}
OWN = {
    "scripts/main.js": (
        'import { load } from "./assets.js";\n'
        'load("items"); load("extra"); document.body.classList.add("added-by-script");'
    ),
    "scripts/assets.js": "export const load = (name) => name;",
    "scripts/inline.js": 'document.documentElement.dataset.theme = "dark";',
    "scripts/pages/extra.js": "window.extra = 1 + 1;",
    "scripts/pages/line-kernel.js": "window.line = 1 + 1;",
    "pages/line.html": '<script defer src="{script}"></script>',
    "styles/book.css": ".own-and-not-on-any-page { color: var(--paper) }",
}


class Site:
    """A small site, as Sphinx writes it."""

    def __init__(self, root: Path) -> None:
        self.root, self.source, self.target = root, root / "html", root / "site"
        for path, text in FILES.items():
            self.put(path, text)
        for path, text in OWN.items():
            self.put(f"../own/{path}", text)
        self.put_page("index", FRONT)
        self.put_page("part/page", PAGE)
        dot = Image.new("RGB", (3, 2), "red")
        dot.save(self.source / "_static/dot.png")
        photo = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
        photo.save(self.source / "_images/photo.png", compress_level=0)
        self.said: list[str] = []

    def put(self, path: str, text: str) -> None:
        file = self.source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def put_page(self, name: str, body: str, head: str = HEAD) -> None:
        root = "../" * name.count("/")
        page = head.replace("{root}", root).replace("{title}", name) + body
        self.put(f"{name}.html", page + FOOT.replace("{root}", root))

    def publish(self) -> publish.Publisher:
        publisher = publish.Publisher(
            self.source,
            self.target,
            self.root / "site.json",
            self.root / "own",
            say=self.said.append,
        )
        publisher.run()
        return publisher

    def page(self, path: str = "index.html") -> str:
        return (self.target / path).read_text("utf-8")

    def asset(self, pattern: str) -> str:
        [file] = (self.target / "assets").glob(pattern)
        return file.read_text("utf-8")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Return a published site; no test may change it."""
    site = Site(tmp_path_factory.mktemp("published"))
    site.publish()
    return site


@pytest.fixture
def site(published: Site, tmp_path: Path) -> Site:
    """Return a published site to change."""
    shutil.copytree(published.root, tmp_path, dirs_exist_ok=True)
    copy = Site.__new__(Site)
    copy.root, copy.source, copy.target = tmp_path, tmp_path / "html", tmp_path / "site"
    copy.said = []
    return copy


def test_one_style_sheet_and_one_script_stand_for_all(published: Site) -> None:
    for path, root in [("index.html", ""), ("part/page.html", "../")]:
        page = published.page(path)
        [style] = re.findall(r'<link rel="stylesheet" href="([^"]*)">', page)
        assert re.fullmatch(rf"{root}assets/site\.[0-9a-f]{{16}}\.css", style)
        [script] = re.findall(r'<script defer src="([^"]*)"', page)
        assert re.fullmatch(rf"{root}assets/site\.[0-9a-f]{{16}}\.js", script)
        assert (published.target / path).parent.joinpath(style).is_file()
        assert (published.target / path).parent.joinpath(script).is_file()
        assert page.count("<script") == 3 - ("application/json" not in page)
        assert page.count('name="viewport"') == 1
        assert "preload" not in page
        assert "_static/" not in page.replace("https://example.org/_static/cards/", "")


def test_style_sheet_holds_what_pages_and_scripts_use(published: Site) -> None:
    style = published.asset("site.*.css")
    for kept in (".used{color:red}", ".only-here{", ".added-by-script", ".own-and-not-on-any-page"):
        assert kept in style
    assert ".never" not in style
    [dot] = re.findall(r"url\((dot\.[0-9a-f]{16}\.png)\)", style)
    assert (published.target / "assets" / dot).is_file()
    assert "Licensed with thanks" not in style
    assert "Licensed with thanks" in published.page("licenses.txt")


def test_script_holds_the_themes_and_our_own(published: Site) -> None:
    script = published.asset("site.*.js")
    assert "added-by-script" in script
    # Ours first; theirs get a storage that does not throw.
    assert script.index("added-by-script") < script.index("kept ")
    assert script.rstrip().endswith("(...window.llmbook.themeStorage);")
    assert "never" not in script
    assert 'addEventListener("load"' not in script


def test_scripts_find_what_they_ask_for(published: Site) -> None:
    [given] = re.findall(r'data-assets="([^"]*)"', published.page("part/page.html"))
    names = json.loads(html.unescape(given))
    assert names.keys() == {"plotly", "extra", "line-kernel", "line-frame", "items"}
    assert names["items"] == "../data/items.js"
    for name in names.values():
        assert (published.target / "assets" / name).is_file()
    assert names["line-kernel"] in published.asset("line.*.html")
    assert published.asset("extra.*.js").strip().endswith("})();")


def test_icons_are_drawn(published: Site) -> None:
    page = published.page()
    rocket, sun = re.findall(r"<svg [^>]*fa-icon[^>]*>.*?</svg>", page)
    assert rocket.startswith('<svg class="fa-icon" aria-hidden="true" viewBox="0 0 ')
    assert sun.startswith('<svg class="fa-icon fa-icon-lg theme-switch" data-mode="light"')
    assert sun.count("aria-hidden") == 1
    assert all("<path d=" in icon for icon in (rocket, sun))
    assert "<i " not in page


def test_policy_allows_the_one_inline_script(published: Site) -> None:
    for path in ("index.html", "part/page.html"):
        page = published.page(path)
        [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
        [inline] = re.findall(r"<script>(.*?)</script>", page)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"script-src 'self' 'sha256-{digest}';" in policy
        assert "connect-src 'self';" in policy
        assert page.index("Content-Security-Policy") < page.index("<script>")
        assert "onclick" not in page
        assert "https:" not in policy
    assert '<button data-action="print" type="button">' in published.page()


def test_theme_is_light_until_a_script_says_otherwise(published: Site) -> None:
    assert 'data-theme="light"' in published.page()


def test_images_are_sized_and_light(published: Site) -> None:
    page = published.page()
    drawing = (
        '<img loading="lazy" alt="A drawing" height="20" width="30" src="_images/drawing.svg">'
    )
    assert drawing in page
    photo = '<img loading="lazy" alt="A photo" height="48" width="64" src="_images/photo.png" />'
    assert f"{photo}</picture>" in page
    [webp] = re.findall(r'<source srcset="(assets/photo\.[0-9a-f]{16}\.webp)"', page)
    photo = published.source / "_images/photo.png"
    with Image.open(published.target / webp) as light, Image.open(photo) as heavy:
        assert light.tobytes() == heavy.tobytes()


def test_text_is_squeezed_but_not_what_is_verbatim(published: Site) -> None:
    page = published.page()
    assert "<pre>one\n\n\ntwo</pre>" in page
    assert "of no use to readers" not in page
    assert "\n\n" not in re.sub("<pre>.*?</pre>", "verbatim", page, flags=re.DOTALL)
    assert page.startswith("<!DOCTYPE html>\n<html")


def test_site_holds_what_is_needed_and_no_more(published: Site) -> None:
    files = {p.relative_to(published.target).as_posix() for p in published.target.rglob("*.*")}
    assert {f for f in files if not f.startswith("assets/")} == {
        ".nojekyll",
        "_images/drawing.svg",
        "_images/photo.png",
        "_sources/index.md",
        "_static/cards/index.png",
        "data/items.js",
        "index.html",
        "licenses.txt",
        "part/page.html",
        "part/page/solution-one.0123456789.js",
        "sitemap.xml",
    }
    assert not [f for f in files if "unused" in f or "fontawesome" in f]


def test_nothing_is_written_when_nothing_changed(site: Site) -> None:
    before = {p: p.stat().st_mtime_ns for p in site.target.rglob("*")}
    publisher = site.publish()
    assert publisher.written == []
    assert {p: p.stat().st_mtime_ns for p in site.target.rglob("*")} == before
    assert "2 pages (0 changed)" in site.said[0]


def test_bundles_are_made_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish.Publisher, "run_node", None)
    site.put_page("index", FRONT.replace("Text with", "Words with"))
    assert site.publish().written == ["index.html"]
    assert "Words with" in site.page()


def test_only_changed_pages_are_written(site: Site) -> None:
    site.put("_static/items.js", "window.items = [1, 2];")
    site.put_page("part/page", PAGE.replace("Code", "More code"))
    assert sorted(site.publish().written) == ["data/items.js", "part/page.html"]


def test_page_follows_its_images(site: Site) -> None:
    Image.new("RGB", (64, 48), "red").save(site.source / "_images/photo.png", compress_level=0)
    [image, smaller, page] = sorted(site.publish().written)
    assert (image, page) == ("_images/photo.png", "index.html")
    assert f'<source srcset="{smaller}" type="image/webp">' in site.page()


def test_pages_follow_the_style_sheet(site: Site) -> None:
    site.put("../own/styles/more.css", ".more { color: red }")
    written = site.publish().written
    assert {"index.html", "part/page.html"} < set(written)
    assert ".more{" in site.asset("site.*.css")


def test_damaged_file_is_made_again(site: Site) -> None:
    good = site.page("part/page.html")
    (site.target / "part/page.html").write_text("half a page")
    next((site.target / "assets").glob("dot.*.png")).unlink()
    next((site.target / "assets").glob("site.*.js")).unlink()
    site.publish()
    assert site.page("part/page.html") == good
    for pattern in ("dot.*.png", "site.*.js", "site.*.css"):
        assert len(list((site.target / "assets").glob(pattern))) == 1


def test_what_is_no_longer_made_is_removed(site: Site) -> None:
    (site.source / "part/page.html").unlink()
    (site.source / "part/page/solution-one.0123456789.js").unlink()
    (site.target / "stray.txt").write_text("from another time")
    site.publish()
    assert not (site.target / "part").exists()
    assert not (site.target / "stray.txt").exists()
    assert (site.target / "index.html").is_file()
    assert ".only-here" not in site.asset("site.*.css")


def test_pictures_that_no_page_shows_are_left_out(site: Site) -> None:
    site.put("_images/of-an-earlier-build.svg", "<svg/>")
    site.put("part/page/solution-one.0123456789.js", r'"<img src=\"../_images/late.svg\">"')
    site.put("_images/late.svg", "<svg/>")
    site.publish()
    pictures = {file.name for file in (site.target / "_images").iterdir()}
    assert pictures == {"drawing.svg", "late.svg", "photo.png"}


def test_tags_are_read_to_their_end(site: Site) -> None:
    site.put("../own/styles/late.css", ".late { color: red }")
    body = "<p title=\"x > y\" class='only-here late'>Text</p><!-- <pre> <script>no()</script> -->"
    site.put_page("index", body)
    site.publish()
    assert ".only-here{" in site.asset("site.*.css")
    assert "no()" not in site.page()


def test_prose_may_name_any_file(site: Site) -> None:
    site.put("part/page/solution-one.0123456789.js", '"The file _static/book.css holds"')
    site.publish()
    assert "_static/book.css" in site.page("part/page/solution-one.0123456789.js")


def test_folder_of_others_is_left_alone(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    for target in (other, site.source / "site", site.source.parent):
        publisher = publish.Publisher(site.source, target, tmp_path / "m.json", site.root / "own")
        with pytest.raises(publish.PublishError, match="--target must"):
            publisher.run()
    assert (other / "mine.txt").read_text() == "mine"


def test_photographs_may_lose_what_they_lost_before() -> None:
    photo = Image.effect_noise((200, 200), 60).convert("RGB")
    data = io.BytesIO()
    photo.save(data, "JPEG", quality=95)
    smaller = publish.webp(data.getvalue())
    assert smaller is not None
    with Image.open(io.BytesIO(smaller)) as image:
        assert image.size == (200, 200)


def test_licenses_of_all_that_is_bundled_are_there(published: Site) -> None:
    site = publish.Publisher()
    text = site.licenses(["@lumino/signaling", "style-mod"], ["a notice"])
    for name in ("@lumino/signaling", "style-mod", "@fortawesome/fontawesome-free", "katex"):
        assert re.search(rf"^{name} [\d.]+: \S", text, re.MULTILINE), name
    assert "a notice" in text
    assert "MIT" in text


def test_later_step_adds_files(site: Site) -> None:
    def complete(target: Path, paths: set[str], write: object) -> None:
        assert (target / "index.html").is_file()
        assert "index.html" in paths
        write("all.json", json.dumps(sorted(paths)).encode())

    publisher = publish.Publisher(
        site.source, site.target, site.root / "site.json", site.root / "own", complete=complete
    )
    publisher.run()
    assert (site.target / "all.json").is_file()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<i class="fas fa-no-such-thing"></i>', "an icon that .* has not: fas fa-no-such-thing"),
        ("<script>alert(1)</script>", r"index.html has an inline script \(alert\(1\)"),
        ('<p onclick="more()">', r'a handler onclick="more\(\)"'),
        ("<p onClick='more()'>", r'a handler onClick="more\(\)"'),
        ('<img alt="a > b" src="_images/none.png">', "index.html needs _images/none.png"),
        ('<script src="https://example.org/x.js"></script>', "from another host"),
        ('<img alt="" src="_images/none.png">', "index.html needs _images/none.png"),
        ('<img alt="" src="_images/drawing.svg">', "how large _images/drawing.svg is"),
        ('<a href="_sources/none.md">', "needs _sources/none.md"),
        ('<script src="_static/none.js"></script>', "needs _static/none.js"),
    ],
)
def test_page_with_what_cannot_be_published(site: Site, body: str, message: str) -> None:
    site.put_page("index", body)
    before = site.page()
    with pytest.raises(publish.PublishError, match=message):
        site.publish()
    assert site.page() == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("index.html", "run `make book`"),
        ("_static/basic.css", "styles/theme.css needs _static/basic.css"),
        ("_static/dot.png", "a style sheet needs _static/dot.png"),
        ("_static/items.js", "site/scripts/main.js needs _static/items.js"),
        ("../own/scripts/inline.js", "site/scripts/inline.js is missing"),
        ("_static/cards/index.png", "needs _static/cards/index.png"),
    ],
)
def test_missing_file_is_named(site: Site, path: str, message: str) -> None:
    (site.source / path).unlink()
    with pytest.raises(publish.PublishError, match=message):
        site.publish()


def test_part_of_the_theme_that_is_not_as_it_was_is_told(site: Site) -> None:
    site.put("_static/scripts/pydata-sphinx-theme.js", "addEventListener('load', slow)")
    message = r"theme\.js has 0 times, not once, the part that site/scripts/scrolling\.js stands"
    with pytest.raises(publish.PublishError, match=message):
        site.publish()


def test_scripts_hold_nothing_that_pages_lose(site: Site) -> None:
    site.put("part/page/solution-one.0123456789.js", r'"<i class=\"fas fa-sun\"></i>"')
    with pytest.raises(publish.PublishError, match="solution-one"):
        site.publish()


def test_error_in_a_script_says_where(site: Site) -> None:
    site.put("../own/scripts/main.js", "const = 1;")
    with pytest.raises(publish.PublishError, match=r"main\.js:1:6"):
        site.publish()


def test_missing_package_is_named(site: Site, tmp_path: Path) -> None:
    publisher = publish.Publisher(
        site.source, site.target, tmp_path / "memory.json", node_modules=tmp_path / "none"
    )
    with pytest.raises(publish.PublishError, match="esbuild is missing from none; run `npm ci`"):
        publisher.run()


@pytest.mark.parametrize(
    "lists", [[["a", "c"], ["a", "b", "c"], ["b", "d"]], [["a", "b"], ["c", "d"], ["b", "c"]], []]
)
def test_merged_keeps_every_order(lists: list[list[str]]) -> None:
    order = publish.merged(lists)
    assert sorted(order) == sorted({name for names in lists for name in names})
    for names in lists:
        assert [name for name in order if name in names] == names


def test_orders_that_contradict_each_other_are_told() -> None:
    with pytest.raises(publish.PublishError, match=r"different orders: \['a', 'b', 'a'\]"):
        publish.merged([["a", "b"], ["b", "a"]])


@pytest.mark.parametrize("module", [publish, page_text, fonts])
def test_examples_in_docstrings_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).attempted
    assert not doctest.testmod(module).failed
