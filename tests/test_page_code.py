"""Code taken out of a page is what the page says, and nothing else is executed."""

import inspect

import pytest

from page_code import definitions

PAGE = """\
---
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# A page

```{code-cell} ipython3
import math
```

```{code-cell} ipython3
:tags: [your-turn]

def area(r):
    ...
```

```{code-cell} ipython3
FACTOR = 2
other = 1 / 0


def twice(r):
    return FACTOR * r


def area(r):
    math = __import__("math")
    return math.pi * r**2


def both(r):
    FACTOR = 1  # a local of the same name
    return area(r), [twice(x) for x in (r, FACTOR)]


class Shape:
    def area(self):
        return area(3.0)
```

```{code-cell} ipython3
%%writefile somewhere
not Python
```

```{code-cell} ipython3
def again(): ...


def again(): ...
```
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "page.md").write_text(PAGE)
    return tmp_path


def test_a_definition_comes_with_what_it_uses(root):
    page = definitions("page", "both", "Shape", "FACTOR", root=root)
    assert page.both(1.0)[1] == [2.0, 2]
    assert page.Shape().area() == pytest.approx(28.27, abs=0.01)
    assert page.FACTOR == 2
    assert set(vars(page)) == {"both", "Shape", "FACTOR", "source"}
    assert "1 / 0" not in page.source


def test_the_source_can_be_inspected(root):
    page = definitions("page", "twice", root=root)
    assert inspect.getsource(page.twice) == "def twice(r):\n    return FACTOR * r\n"


@pytest.mark.parametrize(
    ("page", "name", "message"),
    [
        ("nowhere", "area", "page must be one of the book"),
        ("page", "volume", "must define volume exactly once, but does 0 times"),
        ("page", "again", "must define again exactly once, but does 2 times"),
    ],
)
def test_what_is_not_there_is_named(root, page, name, message):
    with pytest.raises(ValueError, match=message):
        definitions(page, name, root=root)
