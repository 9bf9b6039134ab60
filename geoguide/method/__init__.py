"""The paper: USD, IMR, IIRC, the objective that sums them, and the batch that they take."""
