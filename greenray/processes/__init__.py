"""How a fresh process is made, and how it never outlives its parent. Standard library and psutil only."""
