"""Why a worker is gone, in words of ours. The errors are Ray's own, with what they said when such things really happened."""

import pytest
from ray import exceptions
from ray.core.generated.common_pb2 import ActorDiedErrorContext

from greenray.driver.cluster import sentence, why_ended
from greenray.errors import MeasurementError

KILLED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed"
)
NODE_DIED = (
    "The actor died because its node has died. Node Id: 36888a2456cf80c392c083a504c861ed257876f6b6b0aaafc22bb986\n"
    "\tthe actor's node was terminated unexpectedly: health check failed due to missing too many heartbeats"
)
CUT_OFF = "The actor is temporarily unavailable: RpcError: RPC error: Socket closed rpc_code: 14"
ENDED = "its process on gpu-3 ended (SIGKILL, out of memory or a crash)"
NODE_ENDED = "its node ended or cannot be reached, host gpu-3"


def died(text: str) -> exceptions.ActorDiedError:
    context = ActorDiedErrorContext(error_message=text, class_name="Worker", actor_id=b"0" * 16, pid=7, node_ip_address="::1")
    return exceptions.ActorDiedError(context)


def raised(error: Exception) -> exceptions.RayTaskError:
    """What a method of an actor raised."""
    trace = f"Traceback (most recent call last):\n  File worker.py\n{type(error).__name__}: {error}"
    return exceptions.RayTaskError("Worker.run", trace, error, "ray::Worker", 7, "192.0.2.2")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (died(KILLED), ENDED),
        (exceptions.WorkerCrashedError(), ENDED),
        (exceptions.RayActorError(), ENDED),
        (died(NODE_DIED), NODE_ENDED),
        (exceptions.NodeDiedError("Task failed because the node\nit was running on is dead"), NODE_ENDED),
        (exceptions.ActorUnavailableError(CUT_OFF, b"0" * 16), NODE_ENDED),  # the first that is heard of it
        (
            exceptions.OutOfMemoryError("Task was killed due to\nthe node running low on memory."),
            "its process on gpu-3 was ended because the host ran out of memory",
        ),
        (
            exceptions.ActorDiedError(raised(ValueError("no good"))),
            "its process on gpu-3 could not start: ValueError: no good",
        ),
        (raised(MeasurementError("board 7 is lost")).as_instanceof_cause(), "board 7 is lost"),
        (exceptions.RaySystemError("something else"), "gpu-3: System error: something else"),
    ],
)
def test_why_a_process_gives_no_answer(error: Exception, said: str) -> None:
    assert why_ended(error, host="gpu-3") == said


def test_what_a_worker_raised_is_said_without_its_traceback() -> None:
    assert sentence(raised(MeasurementError("board 7 is lost")).as_instanceof_cause()) == "board 7 is lost"
    assert sentence(RuntimeError()) == "RuntimeError"
