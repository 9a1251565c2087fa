"""What tests of several rooms share: the command in a process of its own, processes and their ends, made stores and meters."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
