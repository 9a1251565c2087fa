"""Adds the tests' own tactics to the registry of every process: driver, workers, fork server and cells."""

from greenray.tactics.registry import TACTICS

TACTICS["misbehave"] = "misbehaving:Misbehave"
