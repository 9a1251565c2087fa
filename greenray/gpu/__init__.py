"""Boards: what they are, what they tell, and what makes one visible to a process."""
