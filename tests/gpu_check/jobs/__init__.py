"""Work on the board that sections start in processes of their own; see `tests.gpu_check.jobs.__main__`."""
