"""Another batch size as an arm: the same model with batches that are smaller or larger than the block's.

Energy and time are compared per sample, which is what makes arms of different batches comparable. The latency of an iteration is
that of another amount of work, and is not compared.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from greenray.errors import NotApplied, Unsupported
from greenray.tactics.base import Context, Params, Tactic

if TYPE_CHECKING:
    from torch import nn


class BatchSizeParams(Params):
    """`size` is how many samples are in a batch; 1 is answering each as it comes."""

    size: int = Field(default=1, ge=1, le=1_000_000)


class BatchSize(Tactic[BatchSizeParams]):
    """The task is told this batch size when it is made, before anything is read."""

    name = "batch-size"
    summary = "Measures and evaluates in batches of this size, compared sample by sample with the block's."
    source = "https://arxiv.org/abs/1605.07678"
    Params = BatchSizeParams

    def batch_size(self, asked: int) -> int:
        return self.params.size

    def check(self, context: Context) -> None:
        if context.training:
            raise Unsupported("another batch size trains another model: give it in `batch_sizes` of the training experiment")
        if context.batch_size == self.params.size:
            raise NotApplied(f"the block's batches have {self.params.size} samples already", evidence=self._told(context))

    def apply(self, model: "nn.Module", context: Context) -> "nn.Module":
        self._evidence = self._told(context)
        return model

    def evidence(self, model: "nn.Module") -> dict[str, Any]:
        return self._evidence

    def touched(self) -> frozenset[str]:
        return frozenset()

    def _told(self, context: Context) -> dict[str, Any]:
        return {
            "batch_size": self.params.size,
            "batch_size_of_baseline": context.batch_size,
            "compared": "per sample; the latency of an iteration is that of another number of samples",
        }
