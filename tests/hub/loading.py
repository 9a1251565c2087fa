"""Models and data loaded as a cell loads them: `python -m tests.hub.loading CASE...`, each a JSON object; prints a JSON list.

A process of its own, because the hub's client reads HF_* when it is imported. A case has `model` and `dataset`, and may have
`revision` (of the model) and `split`; or `learns`, a network of CIFAR that is to be trained on the dataset.
"""

import json
import sys
from typing import Any

from greenray.cell.main import last_word
from greenray.cell.protocol import Done
from greenray.config.refs import DatasetRef, ModelRef
from tests.support.driving import make_job, preset


def load(case: dict[str, str]) -> dict[str, Any]:
    """How a cell that runs it would end, and what its row would say."""
    import torch
    from transformers.utils import logging

    from greenray.tasks.image_classification.task import ImageClassification

    logging.disable_progress_bar()
    if learns := "learns" in case:
        model = preset(case["learns"], "cifar-tiny")
    else:
        model = ModelRef(source="hub", id=case["model"], label=case["model"], revision=case.get("revision"))
    dataset = DatasetRef(id=case["dataset"], split=case.get("split"), samples=8)
    try:
        task = ImageClassification(make_job(model=model, dataset=dataset, batch_size=4, training=learns))
        task.prepare()
        torch.manual_seed(0)  # of fresh weights
        evaluation = task.evaluate(task.load())
    except Exception as error:
        said = last_word(error, Done())
        return {"end": "refused" if said.refused else said.status, "error": said.error}
    told = {
        "family": task.family,
        "split": task.split,
        "commit": task.settings.get("model_commit"),
        "dataset_commit": task.settings.get("dataset_commit"),
        "learnt": task.training_samples,
    }
    return {"end": "ok", "quality": evaluation.quality, "unknown": evaluation.unknown, **told}


if __name__ == "__main__":
    print(json.dumps([load(json.loads(case)) for case in sys.argv[1:]]))
