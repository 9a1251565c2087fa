"""Text classification: passages, a BERT with a vocabulary of its own, classes."""

import collections
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from greenray.errors import ResourceError
from greenray.tasks.checkpoints import Blueprint
from greenray.tasks.classification import Classification
from text_classification import data

if TYPE_CHECKING:
    from torch import nn

    from greenray.config.refs import DatasetRef
    from greenray.tasks.base import Inputs
    from greenray.tasks.labelled import Labelled, Purpose

TOKENS = 48
WORDS = 1500


class TextClassification(Classification):
    """Inputs are `input_ids` and `attention_mask`, shape (passages, tokens)."""

    name = "text-classification"
    unit = "passage"
    presets: ClassVar = {
        ("bert", "tiny"): {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "max_position_embeddings": TOKENS,
        }
    }
    datasets = (data.NAME,)
    auto_model = "AutoModelForSequenceClassification"
    auto_processor = "AutoTokenizer"
    preload = (*Classification.preload, "transformers.models.bert.modeling_bert", "tokenizers", "text_classification.task")

    @classmethod
    def check_dataset(cls, ref: "DatasetRef") -> None:
        if ref.id != data.NAME:
            raise ResourceError(f"text-classification reads {data.NAME} only, not {ref.id}.")

    def read(self, ref: "DatasetRef", *, purpose: "Purpose") -> "Labelled":
        return data.load(ref, purpose=purpose)

    def fresh(self, data: "Labelled") -> tuple[Mapping[str, Any], Any]:
        from tokenizers import Tokenizer, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        counts = collections.Counter(word for text in data.items for word in re.findall(r"\w+|[^\w\s]+", text))
        words = ["[PAD]", "[UNK]", "[CLS]", *(word for word, _ in counts.most_common(WORDS))]
        tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 2)])
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
        return {"vocab_size": len(words)}, PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)

    def skeleton(self) -> "tuple[nn.Module, Inputs]":
        """Without a mask, which transformers looks into; on the meta device there is nothing to see."""
        model, inputs = super().skeleton()
        return model, {"input_ids": inputs["input_ids"]}

    def encode(self, samples: "Labelled", rows: Sequence[int], *, plan: Blueprint) -> "Inputs":
        texts = [samples.items[row] for row in rows]
        tokens = plan.processor(texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
