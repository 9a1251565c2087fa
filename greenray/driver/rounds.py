"""How many more rounds the ratios of a sweep need, where its config leaves that open."""

from greenray.analysis.repeats import wanted_rounds
from greenray.driver.plan import Plan
from greenray.store.base import Store


def add_rounds(plan: Plan, store: Store) -> int:
    """Add to a plan what its first rounds ask for; returns how many cells that adds.

    Asked when all that is wanted is done: the answer follows from the first rounds alone, so that a resume gives the same one.
    """
    if not plan.bounds:
        return 0
    target = plan.config.measure.target_ci
    return plan.want(wanted_rounds(store, sweep=plan.config.name, bounds=plan.bounds, target=target))
