"""What the bytes of a file hold, checked; what a benchmark means by it is the readers' business. See design.md."""
