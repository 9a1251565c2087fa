"""How much of a model a tactic was applied to, in words that stand beside whatever effect it has.

What counts is the work: a classifier may hold a twelfth of the parameters and a two-thousandth of the multiply-accumulates.
"""

from collections.abc import Iterable, Sequence

from greenray.analysis.arms import Row
from greenray.analysis.effects import ModelEffect
from greenray.analysis.wording import number

HARDLY = 0.01
"""Under this share of the multiply-accumulates (of the parameters where those are unknown) a tactic is hardly applied."""
MARK = "hardly applied"


def shares(effect: ModelEffect) -> tuple[float | None, float | None]:
    """Shares (0-1) of the model's parameters and multiply-accumulates that the tactic touched; None where unknown.

    Where attempts differ, the largest.
    """
    return _shares(_cells(effect))


def is_hardly(effect: ModelEffect) -> bool:
    return is_hardly_in(_cells(effect))


def is_hardly_in(cells: Iterable[Row]) -> bool:
    """The same of rows of `cells`, all of one tactic on one model."""
    parameters, macs = _shares(list(cells))
    share = parameters if macs is None else macs
    return share is not None and share < HARDLY


def _cells(effect: ModelEffect) -> list[Row]:
    return [visit.arm.cell for visit in effect.used]


def _shares(cells: Sequence[Row]) -> tuple[float | None, float | None]:
    told = ((cell.get(f"touched_{of}_share") for cell in cells) for of in ("parameters", "macs"))
    parameters, macs = (max((share for share in each if share is not None), default=None) for each in told)
    return parameters, macs


def hardly(effect: ModelEffect) -> str:
    """`hardly applied (0.2 % of the parameters, 0.1 % of the multiply-accumulates)`; empty where it is more, or unknown."""
    if not is_hardly(effect):
        return ""
    of = zip(shares(effect), ("parameters", "multiply-accumulates"), strict=True)
    return f"{MARK} ({', '.join(f'{_percent(share)} % of the {what}' for share, what in of if share is not None)})"


def named(effect: ModelEffect) -> str:
    """The tactic as a table names it."""
    return marked(effect.tactic, hardly=is_hardly(effect))


def marked(tactic: str, *, hardly: bool) -> str:
    return f"{tactic} ({MARK})" if hardly else tactic


def hardly_on(members: Iterable[tuple[str, ModelEffect]]) -> str:
    """Of several models, given with their labels, those to which a tactic was hardly applied; empty where there is none."""
    told = list(members)
    few = [label for label, effect in told if is_hardly(effect)]
    if not few:
        return ""
    if len(told) == 1:
        return hardly(told[0][1])
    work = [parameters if macs is None else macs for parameters, macs in (shares(e) for _, e in told if is_hardly(e))]
    most = max(share for share in work if share is not None)
    which = "all of them" if len(few) == len(told) else ", ".join([*few[:3], *([f"{len(few) - 3} more"] if len(few) > 3 else [])])
    return f"{MARK} to {which} (at most {_percent(most)} % of the work)"


def _percent(share: float) -> str:
    return number(100 * share, digits=1 if share < HARDLY else 2)
