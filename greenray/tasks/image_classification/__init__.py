"""Classifying images: digits, hub data sets and image folders; transformers classifiers."""
