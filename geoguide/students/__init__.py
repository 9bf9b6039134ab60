"""Networks that learn from 2D features."""
