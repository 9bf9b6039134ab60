"""mini-Matterport3D: generated multi-room houses whose 160 names form a long tail (paper, Long tail)."""
