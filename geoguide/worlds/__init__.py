"""The generated benchmarks: rooms, houses and streets, made from a seed and scanned as a sensor would."""
