"""How a table becomes CSV and LaTeX.

CSV: UTF-8, numbers as they are computed, unknown is empty. LaTeX: a longtable with the rules of booktabs, which may be as long as
it needs to be; pdflatex sets it, so letters that it does not know are written as their code point.
"""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from greenray.report.tables.table import Table

PACKAGES = r"\usepackage{booktabs,longtable}"
_LATEX = {
    **{special: f"\\{special}" for special in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # What follows the end of a row: an option, or a star.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "`": "{`}",
    '"': r"\textquotedblright{}",
    "−": "$-$",
    "×": r"$\times$",
    "µ": r"$\mu$",
    "→": r"$\to$",
    "…": r"\ldots{}",
    "\N{EN DASH}": r"\textendash{}",
    **{raised: f"$^{{{plain}}}$" for raised, plain in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)},
}


def as_csv(table: Table) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_plain(row[column]) for column in table.columns] for row in table.rows)
    return file.getvalue()


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def as_latex(table: Table, *, label: str) -> str:
    """`label` is what the table is referred to by, after `tab:`."""
    printed, columns = table.printed, len(table.printed.columns)
    kinds = "".join("l" if place in printed.text_columns else "r" for place in range(columns))
    head = [r"\toprule", _line(printed.columns), r"\midrule"]
    nothing = [f"\\multicolumn{{{columns}}}{{l}}{{nothing to show}} \\\\"]
    return "\n".join(
        [
            f"% {PACKAGES}",
            r"\begin{longtable}{" + kinds + "}",
            f"\\caption{{{escape(table.caption)}}}\\label{{tab:{label}}} \\\\",
            *head,
            r"\endfirsthead",
            *head,
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *([_line(row) for row in printed.rows] or nothing),
            r"\end{longtable}",
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"


def escape(text: str) -> str:
    """Text as LaTeX sets it; whatever it holds is text."""
    letters = "".join(_LATEX.get(letter) or _letter(letter) for letter in " ".join(text.split()))
    return re.sub(r"(?<=-)(?=-)|(?<=')(?=')|(?<=,)(?=,)", "{}", letters)  # else they become one dash, one quote


def _letter(letter: str) -> str:
    """Letters of Latin-1 are known to pdflatex in any font, all but the Icelandic ones."""
    if letter.isascii():
        return letter if letter.isprintable() else ""
    known = "À" <= letter <= "ÿ" and letter not in "ÐðÞþ×÷"
    return letter if known else f"{{[}}U+{ord(letter):04X}{{]}}"
