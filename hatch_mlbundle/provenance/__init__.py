"""What a wheel says of itself once it was changed: a record of what was done, and SBOMs that tell what it holds (docs/provenance.md)."""
