"""LaTeX as the tables may use it, read back."""

import re

COMMANDS = {
    *(
        "textbackslash",
        "textasciitilde",
        "textasciicircum",
        "textless",
        "textgreater",
        "textbar",
        "textquotedblright",
        "textendash",
    ),
    *("ldots", "times", "mu", "to", "toprule", "midrule", "bottomrule", "endhead", "endfirsthead", "endfoot"),
    *("begin", "end", "caption", "label", "multicolumn"),
}
TOKEN = re.compile(r"\\(?P<command>[A-Za-z]+)|\\(?P<escaped>[&%$#_{}\\])|(?P<special>[&%$#_{}~^\\])|(?P<text>.)", re.DOTALL)


def parsed(latex: str) -> list[str]:
    """Tokens of LaTeX, if it is balanced and uses nothing but what the writer knows; text is told letter by letter."""
    found, depth, math = [], 0, False
    for token in TOKEN.finditer(latex):
        special = token["special"]
        depth += (special == "{") - (special == "}")
        assert depth >= 0, latex
        math ^= special == "$"
        assert token["command"] is None or token["command"] in COMMANDS, token["command"]
        assert special in (None, "&", "{", "}", "$") or (special == "^" and math), (special, latex)
        found.append(token[0])
    assert depth == 0, latex
    assert not math, latex
    return found


def cells_of(latex: str) -> list[list[str]]:
    """Lines of the table, each by its cells, still as LaTeX."""
    body = latex.split(r"\endfoot")[1].split(r"\end{longtable}")[0].strip().splitlines()
    assert all(line.endswith(r" \\") for line in body)
    return [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in body]
