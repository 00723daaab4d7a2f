"""What files are made of: binaries by their sections, GPU code by architecture, models by the dtypes of their tensors."""
