"""Training of the mini 2D models: rendered images of worlds of their own, pixel features matched with text."""
