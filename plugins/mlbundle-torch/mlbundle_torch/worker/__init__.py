"""What runs in a process of its own, with torch: everything here may be slow, large, or crash.

It is started by path, by whatever interpreter has torch, and imports nothing of hatch-mlbundle or of the package around it.
"""
