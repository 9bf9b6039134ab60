"""Files as bytes: what a file holds, checked; what a benchmark means by it is the readers' business."""
