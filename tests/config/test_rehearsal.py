"""A rehearsal goes once through everything, and its cells are never those of the sweep."""

from pathlib import Path

import pytest

from greenray.config.load import load
from greenray.config.matrix import expand
from greenray.config.rehearsal import rehearsal
from tests.support import ROOT

CONFIGS = sorted(ROOT.glob("configs/*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_config_of_ours(file: Path) -> None:
    config = load(file)
    short = rehearsal(config)
    assert short.name == f"{config.name}-rehearsal"
    whole, once = (expand(which, auto_device="cuda") for which in (config, short))

    # Not by experiment: a cell that two of them ask for is the first one's, which may rehearse it at another batch size.
    def things(blocks: list) -> set[tuple[str, ...]]:
        found = (cell for block in blocks for cell in block.cells)
        names = ((c.phase, c.model.label.partition("#")[0], c.dataset.id, c.device, c.tactic_slug) for c in found)
        return set(names)

    assert things(whole) == things(once)
    cells = [cell for block in once for cell in block.cells]
    assert {cell.round for cell in cells} == {1}
    assert all(cell.dataset.samples <= 16 for cell in cells)
    assert all(cell.hyperparameters.epochs <= 2 for cell in cells if cell.hyperparameters)
    assert not {cell.cell_id for cell in cells} & {cell.cell_id for block in whole for cell in block.cells}


def test_a_long_name_stays_a_name() -> None:
    config = load(CONFIGS[0])
    assert len(rehearsal(config.model_copy(update={"name": "a" * 64})).name) == 64
