"""Energy of any command, like `time`."""
