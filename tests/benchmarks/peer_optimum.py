"""The peer's side of attempt.py, run by the peers' own Python: one inference benchmark of a tiny ViT, in process isolation.

python peer_optimum.py FOLDER

Writes FOLDER/figures.json: launch_s, wall time of the launch, and measured_s, what the peer reports as work.
"""

import json
import sys
import time
from pathlib import Path

import torch
from optimum_benchmark import Benchmark, BenchmarkConfig, InferenceConfig, ProcessConfig, PyTorchConfig
from transformers import ViTConfig, ViTForImageClassification


def main() -> None:
    folder = Path(sys.argv[1]) / "vit-tiny"
    if not folder.exists():
        config = ViTConfig(
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=192,
            image_size=32,
            patch_size=8,
            num_channels=1,
            num_labels=10,
        )
        ViTForImageClassification(config).save_pretrained(folder)
    benchmark = BenchmarkConfig(
        name="vit-tiny",
        launcher=ProcessConfig(),
        backend=PyTorchConfig(model=str(folder), task="image-classification", library="transformers", device="cpu"),
        scenario=InferenceConfig(input_shapes={"batch_size": 8}, duration=1, iterations=10, warmup_runs=3, latency=True),
        log_report=False,
        print_report=False,
    )
    begin_s = time.monotonic()
    report = Benchmark.launch(benchmark)
    launch_s = time.monotonic() - begin_s
    data = report.to_dict()
    latencies = [target["latency"]["total"] for target in data.values() if isinstance(target, dict) and target.get("latency")]
    figures = {"launch_s": launch_s, "measured_s": sum(latencies), "torch": torch.__version__}
    (Path(sys.argv[1]) / "figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
