"""Training of the network that proposes class-agnostic masks."""
