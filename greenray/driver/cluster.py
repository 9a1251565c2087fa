"""Joining Ray: a private local instance, or a cluster that is already there."""

import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from greenray.errors import ResourceError
from greenray.processes import tree as processes
from greenray.processes.reaper import Reaper

_OBJECT_STORE_BYTES = 80 * 2**20  # results are tiny; this is close to Ray's minimum

_CONNECT_TIMEOUT_S = 10.0

# Must be in the environment before Ray starts its own processes.
_LOCAL_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # 15 by default: the workload would be measured at low priority
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill the worker, where our watchdog ends the cell
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_TQDM_PATCH_PRINT": "0",
    "SPT_NOENV": "1",  # Ray's agents set their title over their environment, and with it over our mark
}


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The `ray` module, connected to the cluster at `auto` or `host:port`, or to a private local instance, ended afterwards.

    That one has no dashboard, and its token lives in the environment of its processes only; whatever ends this process, its
    marked processes are killed: they outlive a killed driver by seconds, some of them for good.

    Raises ResourceError: there is no cluster at the address, or it refuses the token.
    """
    with contextlib.ExitStack() as stack:
        if address is None:
            os.environ.update(_LOCAL_ENVIRONMENT)
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            mark = processes.new_mark()
            unmarked = {name: value for name, value in os.environ.items() if name != processes.MARK}
            stack.callback(Reaper(mark=mark, environment=unmarked).close)
            stack.callback(processes.kill_marked, mark)
            os.environ[processes.MARK] = mark
            stack.callback(os.environ.pop, processes.MARK)
            # "local" and not a bare init, which would join whatever a stale address file names.
            options = {"address": "local", "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
            failure = "Ray cannot be started here"
        else:
            options, failure = {"address": address}, f"no Ray cluster can be joined at {address}"
            if problem := _unreachable(address):
                raise ResourceError(f"{failure}: {problem}.")
        import ray

        try:
            ray.init(**options, log_to_driver=False, configure_logging=False)
        except Exception as error:  # a plain one where a process of Ray's does not come up in time, as on a host that is starved
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ResourceError(f"{failure}: {reason}") from None
        stack.callback(ray.shutdown)
        yield ray


def _unreachable(address: str) -> str | None:
    """Why nothing can be there, or None; Ray itself would try for over a minute."""
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one host answered, or the `problem` that kept it from answering; a sentence."""

    hostname: str
    node_id: str
    value: Any = None
    problem: str | None = None


def ask_every_host(ray: Any, function: Callable[[], Any], *, timeout_s: float) -> list[Answer]:
    """What a function answers on each living host, in the order of their names; all are asked at once."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeManagerHostname"]))
    task = ray.remote(num_cpus=0, max_retries=0)(function)
    refs = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)).remote()
        for node in nodes
    ]
    answered, _ = ray.wait(refs, num_returns=len(refs), timeout=timeout_s) if refs else ([], [])
    answers = []
    for node, ref in zip(nodes, refs, strict=True):
        name = str(node["NodeManagerHostname"])
        value = problem = None
        if ref not in answered:
            problem = f"did not answer within {timeout_s:.0f} s"
            ray.cancel(ref, force=True)
        else:
            try:
                value = ray.get(ref)
            except ray.exceptions.RayError as error:
                problem = f"cannot be asked: {why_ended(error, host=name)}"
        answers.append(Answer(hostname=name, node_id=str(node["NodeID"]), value=value, problem=problem))
    return answers


def sentence(error: BaseException) -> str:
    """What an error in another process says, without the traceback that Ray wraps it in."""
    cause = getattr(error, "cause", None)
    text = str(cause if cause is not None else error).strip()
    return text.splitlines()[-1] if text else type(error).__name__


def why_ended(error: BaseException, *, host: str) -> str:
    """Why a process on a host gives no answer, in words of ours: Ray's are about RPC, and it knows no more than this."""
    from ray import exceptions

    if isinstance(error, exceptions.RayTaskError):
        return sentence(error)
    # Of a node that ends, the first to be heard is that the connection broke.
    cut_off = isinstance(error, exceptions.NodeDiedError | exceptions.ActorUnavailableError | exceptions.ObjectLostError)
    if cut_off or "its node has died" in str(error):
        return f"its node ended or cannot be reached, host {host}"
    if isinstance(error, exceptions.OutOfMemoryError):
        return f"its process on {host} was ended because the host ran out of memory"
    if isinstance(error, exceptions.RayActorError) and error.actor_init_failed:
        return f"its process on {host} could not start: {sentence(error)}"
    if isinstance(error, exceptions.RayActorError | exceptions.WorkerCrashedError):
        return f"its process on {host} ended (SIGKILL, out of memory or a crash)"
    return f"{host}: {sentence(error)}"
