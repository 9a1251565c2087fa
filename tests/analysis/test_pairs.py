"""Which arms are compared: those of one visit and no others, however visits ended and in whatever order rows come."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from greenray.analysis.arms import Arm, Measured
from greenray.analysis.visits import visit_effects

_TEXTS = ("phase", "task", "model", "model_source", "model_revision", "model_family", "dataset", "hyperparameters")
_SAME = ("host", "gpu_uuid", "num_threads", "torch_version", "transformers_version", "driver_version", "greenray_version")


def arm(*, sweep: str, block: str, visit: int | None, tactic: str, bracket: str | None, status: str) -> Arm:
    cell: dict[str, Any] = dict.fromkeys(
        (*_TEXTS, *_SAME, "cpu_name", "gpu_name", "batch_size", "measured_batch_size", "round", "training_share")
    )
    where = (sweep, block, visit, tactic, bracket)
    cell |= {"sweep": sweep, "block_id": block, "visit": visit, "tactic": tactic, "bracket": bracket, "status": status}
    cell |= {"run_id": "/".join(map(str, where)), "device": "cpu"}
    known = Measured(mean=1.0, spread=0.04)
    return Arm(
        cell=cell,
        energy_j=known,
        active_j=None,
        time_s=known,
        latency_p50_s=None,
        latency_p95_s=None,
        scope="cpu",
        modelled_share=0.0,
        apportioned=False,
        neighbours=0.0,
        contended=False,
        warmed_up=True,
        grade="A",
        windows_without_energy=0,
        missing_reasons=(),
        rejected=(),
        idle_w=None,
        idle_settled=None,
        host_idle_w=None,
    )


ENDS = st.sampled_from(["ok", "ok", "ok", "crashed", "never ran"])
VISITS = st.lists(
    st.tuples(
        st.sampled_from(["s1", "s2"]),
        st.sampled_from(["b1", "b2"]),
        st.integers(1, 3),
        ENDS,  # opening baseline
        ENDS,  # closing baseline
        st.lists(st.tuples(st.sampled_from(["compile", "prune-local", "bf16"]), ENDS), max_size=3, unique_by=lambda t: t[0]),
    ),
    max_size=8,
    unique_by=lambda v: v[:3],
)


@given(VISITS, st.randoms(use_true_random=False))
def test_pairs_are_made_inside_a_visit_only(visits: list[Any], dice: random.Random) -> None:
    arms = [arm(sweep="s1", block="b9", visit=None, tactic="baseline", bracket=None, status="ok")]  # a plain cell
    expected = set()
    for sweep, block, number, opening, closing, tactics in visits:
        where = {"sweep": sweep, "block": block, "visit": number}
        ends = [("baseline", "open", opening), ("baseline", "close", closing), *((name, None, end) for name, end in tactics)]
        arms += [arm(**where, tactic=t, bracket=b, status=end) for t, b, end in ends if end != "never ran"]
        if opening == "ok":
            brackets = tuple(
                f"{sweep}/{block}/{number}/baseline/{b}" for b, end in (("open", "ok"), ("close", closing)) if end == "ok"
            )
            expected |= {(f"{sweep}/{block}/{number}/{name}/None", brackets) for name, end in tactics if end == "ok"}
    dice.shuffle(arms)
    found = visit_effects(arms)
    pairs = [(effect.arm.cell["run_id"], tuple(b.cell["run_id"] for b in effect.baselines)) for effect in found]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected
    for effect in found:
        assert (effect.drift is None) is (len(effect.baselines) < 2)
        assert any("cut short" in flag for flag in effect.flags) is (len(effect.baselines) < 2)
