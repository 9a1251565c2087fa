"""GreenRay: which optimisation makes a model cheaper and greener on this hardware, by how much, and how sure that is."""

__version__ = "0.1.0"
