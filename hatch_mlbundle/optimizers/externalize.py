"""Take models out of a bundle: what stays is a descriptor, by which the runtime finds them again (docs/models-outside.md)."""
