"""A run-time hook for PyInstaller: lets a frozen application load packed weights (`hatch_mlbundle.runtime.hook_path`)."""

from hatch_mlbundle.runtime.patching import install

install()
