"""Kernels that several modules share, some with several back ends behind one function; nothing of the method."""
