"""Students: networks that learn F_3d^sem from lifted 2D features (see design.md)."""
