"""What work is: a folder a task, and a registry that imports them late."""
