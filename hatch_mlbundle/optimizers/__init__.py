"""The optimizers that come with us, one file each."""
