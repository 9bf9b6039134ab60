"""The embedded benchmark: small furnished rooms, generated from a seed and scanned as a sensor would."""
