"""A stand-in for torch, as far as the fork server asks it about CUDA."""

from . import cuda as cuda
