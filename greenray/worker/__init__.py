"""One for each GPU, one for a host without: runs cells, measures them, commits their rows. No torch."""
