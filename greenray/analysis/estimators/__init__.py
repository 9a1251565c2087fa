"""Predicting instead of measuring, each way with the error that it made on what was measured.

A short profile (`profiles`) predicts the rest of a run that has begun. Descriptors (`points`) predict a model that was never run:
by the forms of `candidates`, judged by leaving models out (`nested`), with an interval that is checked (`intervals`). `predicted`
joins them for one new model.
"""
