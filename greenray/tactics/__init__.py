"""What is compared: one file a family of tactics, and a registry that imports them late."""
