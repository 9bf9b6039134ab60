"""Class-agnostic instance masks: how they are held, found and judged."""
