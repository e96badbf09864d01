"""What the publishing step does to the text of a page."""

import page_text


def test_faults_of_the_theme_are_mended() -> None:
    text = """<main id="main-content" class="bd-main" role="main">
<button title="A &amp; B" data-x="a > b"> <svg></svg> </button>
<button title="Print" type="submit">.pdf</button>
<button title="Search" aria-label="Search it"><svg></svg></button>
<div id="jb-print-docs-body" class="onlyprint"><h1> {title} </h1>
<div id="print-main-content"><div id="jb-print-toc"><div>
<h2> Contents </h2></div><nav><h2>kept</h2></nav></div></div></div>
<article><h1>kept</h1></article>"""
    assert page_text.mended(text.replace("{title}", "A <em>title</em>")) == (
        """<main id="main-content" class="bd-main">
<button title="A &amp; B" data-x="a > b" aria-label="A &amp; B" type="button"> <svg></svg> </button>
<button title="Print" type="submit">.pdf</button>
<button title="Search" aria-label="Search it" type="button"><svg></svg></button>
<div id="jb-print-docs-body" class="onlyprint"><p class="print-title">A <em>title</em></p>
<div id="print-main-content"><div id="jb-print-toc"><div>
<p class="print-contents">Contents</p></div><nav><h2>kept</h2></nav></div></div></div>
<article><h1>kept</h1></article>"""
    )
    assert '<div id="jb-print-docs-body" class="onlyprint">\n<div' in page_text.mended(
        text.replace("{title}", "")
    )


def test_words_are_what_selectors_name() -> None:
    page = '<div class="one two" id="three" data-theme="dark" title="not this" hidden><br/></div>'
    assert page_text.words(page) == {
        *(
            "div",
            "class",
            "one",
            "two",
            "id",
            "three",
            "data-theme",
            "dark",
            "title",
            "hidden",
            "br",
        )
    }
