"""One experiment: its config, the stages that prepare scenes, training, scoring (see design.md)."""
