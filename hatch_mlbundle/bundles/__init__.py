"""Sources and destinations: how a bundle is read from an artifact, and written back."""
