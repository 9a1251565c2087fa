"""From a trace to joules: pure functions of samples and two moments, with an error that covers the truth."""
