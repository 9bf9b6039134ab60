"""The paper's method: USD, IMR, IIRC, the objective that sums them, and the batch that they take (see design.md)."""
