"""Reads handwritten digits of 8x8 pixels with a small neural network."""

from digit_reader.model import IMAGE_SIZE, Model, load_model

__all__ = ["IMAGE_SIZE", "Model", "load_model"]
