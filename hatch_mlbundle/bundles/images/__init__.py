"""Container images: where their blobs are, what their layers hold, and what is left of it when they lie on each other."""
