"""Putting printed pages together: page numbers, bookmarks, links inside the document.

The pages are made by hand here; the browser's part is only to print them.
"""

import io
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import Link
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    Fit,
    FloatObject,
    NameObject,
    NullObject,
    TextStringObject,
)

import pdf

ROOT = "http://127.0.0.1:1/"
BOX = (50, 50, 100, 60)


def reader(
    sheets: int, links: dict[int, list[str]], goals: dict[str, tuple[int, float]]
) -> PdfReader:
    """Make a document with links (by sheet) and named places (sheet and height), as printed."""
    writer = PdfWriter()
    for n in range(sheets):
        page = writer.add_blank_page(width=200, height=300)
        content = DecodedStreamObject()
        content.set_data(b"BT ET")
        page[NameObject("/Contents")] = writer._add_object(content)
        for address in links.get(n, []):
            if address.startswith("#"):
                link = DictionaryObject(
                    {
                        NameObject("/Type"): NameObject("/Annot"),
                        NameObject("/Subtype"): NameObject("/Link"),
                        NameObject("/Rect"): ArrayObject(map(FloatObject, BOX)),
                        NameObject("/Dest"): NameObject("/" + address[1:]),
                    }
                )
                page.setdefault(NameObject("/Annots"), ArrayObject()).append(
                    writer._add_object(link)
                )
            else:
                writer.add_annotation(n, Link(rect=BOX, url=address))
    named = DictionaryObject()
    for name, (n, top) in goals.items():
        named[NameObject("/" + name)] = ArrayObject(
            [
                writer.pages[n].indirect_reference,
                NameObject("/XYZ"),
                FloatObject(10),
                FloatObject(top),
                NullObject(),
            ]
        )
    writer.root_object[NameObject("/Dests")] = named
    heading = writer.add_outline_item(title="Heading", page_number=0, fit=Fit.xyz(left=0, top=300))
    writer.add_outline_item(
        title="Section", page_number=sheets - 1, parent=heading, fit=Fit.xyz(left=0, top=200)
    )
    data = io.BytesIO()
    writer.write(data)
    return PdfReader(io.BytesIO(data.getvalue()))


VIEW = f"{ROOT}part/two.html?part=one#there"


@pytest.fixture
def groups() -> list[tuple[str, list[pdf.Printed]]]:
    one = reader(
        2,
        {0: ["#here", f"{ROOT}part/two.html#there", "https://example.org/"], 1: [VIEW]},
        {"here": (0, 20.0), "at-heading-of-here": (1, 250.0)},
    )
    two = reader(
        3,
        {2: [f"{ROOT}part/one.html", f"{ROOT}part/two.html#gone", f"{ROOT}elsewhere.html#x"]},
        {"there": (1, 111.0)},
    )
    section = pdf.Section("here", "Here", "Exercise 1.1")
    return [
        ("Part", [pdf.Printed("part/one.html", "One", one, [section], 2)]),
        ("Empty", []),
        ("Other", [pdf.Printed("part/two.html", "Two", two, [], 4)]),
    ]


def made(groups: list[tuple[str, list[pdf.Printed]]], online: str) -> tuple[PdfReader, list[str]]:
    front = reader(2, {1: [f"{ROOT}part/one.html#here"]}, {})
    writer, lost = pdf.put_together(front, groups, ROOT, "Book", "Us", online)
    data = io.BytesIO()
    writer.write(data)
    return PdfReader(io.BytesIO(data.getvalue())), lost


def links(document: PdfReader, sheet: int) -> list[object]:
    """Where the links of a sheet lead: sheet (from 0) and height, or an address."""
    found: list[object] = []
    for reference in document.pages[sheet].get("/Annots", []):
        annotation = reference.get_object()
        if "/Dest" in annotation:
            page, _, _, top, _ = annotation["/Dest"]
            found.append((document.get_page_number(page.get_object()), float(top)))
        else:
            found.append(str(annotation["/A"]["/URI"]))
    return found


def test_links_lead_to_places_of_the_document(groups: list) -> None:
    document, lost = made(groups, "")
    assert len(document.pages) == 2 + 2 + 3
    # The heading speaks for its section, which began at the foot of the sheet before.
    assert links(document, 1) == [(3, 250.0)]
    assert links(document, 2) == [(3, 250.0), (5, 111.0), "https://example.org/"]
    assert links(document, 3) == [(5, 111.0)]  # a view of a page is part of the page
    # What has no place leads to its page, or nowhere.
    assert links(document, 6) == [(2, 300.0), (4, 300.0)]
    assert lost == ["elsewhere.html#x"]


def test_what_is_not_printed_is_linked_on_the_web(groups: list) -> None:
    document, _ = made(groups, "https://book.example/")
    assert links(document, 6)[-1] == "https://book.example/elsewhere.html#x"


def test_sheets_are_numbered_and_the_cover_is_not(groups: list) -> None:
    document, _ = made(groups, "")
    assert [page.extract_text().strip() for page in document.pages] == ["", *"234567"]


def test_bookmarks_follow_parts_pages_and_headings(groups: list) -> None:
    document, _ = made(groups, "")

    def titles(entries: list) -> list:
        return [
            titles(e) if isinstance(e, list) else (e.title, document.get_destination_page_number(e))
            for e in entries
        ]

    assert titles(document.outline) == [
        ("Contents", 1),
        ("Part", 2),
        [("Heading", 2), [("Section", 3)]],
        ("Other", 4),
        [("Heading", 4), [("Section", 6)]],
    ]
    assert document.metadata.title == "Book"
    assert document.metadata.author == "Us"
    assert document.trailer["/Root"]["/Lang"] == "en"
    assert isinstance(document.trailer["/Root"]["/Lang"], TextStringObject)


def test_contents_have_numbers_or_dummies(groups: list) -> None:
    known = pdf.places([page for _, pages in groups for page in pages])
    numbers = {address: place.page + 1 for address, place in known.items()}
    text = pdf.contents("Book", "Without solutions", groups, numbers)
    assert "<span><b>One</b></span><span>3</span>" in text
    assert "<span>Exercise 1.1: Here</span><span>4</span>" in text
    assert "<h2>Part</h2>" in text
    assert "<h2>Empty</h2>" not in text
    assert "Without solutions" in text
    assert text.count(pdf.DUMMY) == 0
    assert pdf.contents("Book", "", groups, {}).count(f"<span>{pdf.DUMMY}</span>") == 3


def test_pages_that_the_book_does_not_have_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"_toc\.yml has no page attention, nowhere$"):
        pdf.make(tmp_path / "book.pdf", only=["paths", "nowhere", "attention"])
