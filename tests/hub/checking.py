"""Names as they are checked before the first cell: `python -m tests.hub.checking NAME...`; prints a JSON list of sentences.

A name is model:ID, model:ID@REVISION or dataset:ID; what passes has null in the list.
"""

import json
import sys

from greenray.config.refs import DatasetRef, ModelRef
from greenray.config.settings import Trust
from greenray.errors import ResourceError
from greenray.tasks.image_classification.task import ImageClassification


def check(name: str) -> str | None:
    """The sentence of one that cannot be had."""
    kind, _, rest = name.partition(":")
    id_, _, revision = rest.partition("@")
    try:
        if kind == "model":
            model = ModelRef(source="hub", id=id_, label=id_, revision=revision or None)
            ImageClassification.check_model(model, trust=Trust())
        else:
            ImageClassification.check_dataset(DatasetRef(id=id_, revision=revision or None))
    except ResourceError as error:
        return str(error)
    return None


if __name__ == "__main__":
    print(json.dumps([check(name) for name in sys.argv[1:]]))
