"""A run-time hook for PyInstaller: lets a frozen application load packed weights, and heed MLBUNDLE_COMMAND (`hook_path`)."""

from hatch_mlbundle.runtime.models import heed_command
from hatch_mlbundle.runtime.patching import install

install()
heed_command()
