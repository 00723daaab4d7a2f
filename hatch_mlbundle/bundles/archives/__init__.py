"""Archives of a finished folder: read the tree, lay it out as tar or zip, compress it, write it whole or not at all."""
