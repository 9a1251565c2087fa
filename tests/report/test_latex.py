"""Whatever a text holds, it is text in LaTeX, of letters that pdflatex knows."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from greenray.report.tables.writers import escape
from tests.report.latex import parsed

BACK = {
    **{rf"\{special}": special for special in "&%$#_{}"},
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\textquotedblright{}": '"',
    "{[}": "[",
    "{]}": "]",
    "{*}": "*",
    "{`}": "`",
    "-{}": "-",
    "'{}": "'",
    ",{}": ",",
}


@given(st.text("ab1 &%$#_{}\\~^<>|[]*-`'\",.", max_size=25))
@example("--- '' ,, \\\\[1em] {")
def test_escaped_text_says_the_same(text: str) -> None:
    latex = escape(text)
    parsed(latex)
    assert not re.search(r"--|''|,,|^\[|^\*", latex)
    pattern = "|".join(map(re.escape, sorted(BACK, key=len, reverse=True)))
    assert re.sub(pattern, lambda found: BACK[found[0]], latex) == " ".join(text.split())


@given(st.text(max_size=15))
def test_any_letter_is_one_that_pdflatex_knows(text: str) -> None:
    latex = escape(text)
    parsed(latex)
    latex.encode("latin-1")
    assert not re.search(r"[\x00-\x1f\x7f-\xbf]", latex)
