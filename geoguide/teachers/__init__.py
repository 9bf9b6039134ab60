"""2D teachers: F_2d^M in the paper, per-pixel features of posed images, streamed one view at a time.

Every teacher has a `name` for the record, a `width` C (the length of a feature), and `features(scene)`, which yields
float32 [H, W, C] for each view of the scene, in order, and describes a view only when it is asked for.
"""
