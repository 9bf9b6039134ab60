"""The generated benchmarks: rooms, houses and streets, made from a seed and scanned as a sensor would.

`rooms/`, `houses/` and `streets/` are three of a kind, with the same files in each; the building blocks they share lie
beside them, the shape programs of all objects in `things/`. See design.md.
"""
