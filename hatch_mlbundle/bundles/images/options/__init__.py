"""What could be done about an image: a module for each sort of option, from what its files and layers show alone."""
