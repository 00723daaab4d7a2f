"""Make safetensors load packed weights, and with it transformers, sentence-transformers, diffusers and all that open files by it.

`safetensors.safe_open` is what they come down to. Its stand-in looks whether a file is a signpost with packed weights beside it
(signpost.py), and leaves all others to the original. Nothing is imported before that, safetensors neither: it is patched once the
application imports it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType
    from typing import Any

_NAME = "safetensors"
_OPEN = "safe_open"


def install() -> None:
    """Let safetensors load packed weights, from now on or once it is imported; another call changes nothing."""
    module = sys.modules.get(_NAME)
    if module is not None:
        _patch(module)
    elif not any(isinstance(each, Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, Finder())


def uninstall() -> None:
    """Put back what `install` changed."""
    sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, Finder)]
    stand_in = getattr(sys.modules.get(_NAME), _OPEN, None)
    if isinstance(stand_in, Opening):
        _replace(stand_in, stand_in.original)


class Opening(type):
    """The type of `safe_open`'s stand-in: to call it opens a file, by the `original` or as packed weights."""

    original: Any

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        """Take what the original takes: the file's name, the framework, the device."""
        filename: Any = arguments[0] if arguments else options.get("filename")
        if isinstance(filename, str | bytes) or hasattr(filename, "__fspath__"):
            from .signpost import is_signpost

            if is_signpost(filename):
                return _open_packed(cls.original, filename, arguments[1:], options)
        return cls.original(*arguments, **options)

    def __instancecheck__(cls, instance: object) -> bool:
        from .opening import PackedOpen

        return isinstance(instance, (cls.original, PackedOpen))


class Finder:
    """Finds safetensors as the finders behind it do, and sees to it that it is patched right after it was imported."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        """Return safetensors' spec, with a loader that patches; None for every other module."""
        if name != _NAME:
            return None
        for spec in _specs(self, name, path, target):
            if hasattr(spec.loader, "exec_module"):
                spec.loader = _Loader(spec.loader, self)
            return spec
        return None


class _Loader:
    """A loader in the place of another, of which it has everything but what runs the module."""

    def __init__(self, loader: Any, finder: Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
            _patch(module)


def _specs(finder: Finder, name: str, path: Sequence[str] | None, target: ModuleType | None) -> Iterator[Any]:
    """Yield what the other finders find."""
    for each in list(sys.meta_path):
        find = getattr(each, "find_spec", None)
        spec = find(name, path, target) if find is not None and each is not finder else None
        if spec is not None:
            yield spec


def _patch(module: ModuleType) -> None:
    original = getattr(module, _OPEN, None)
    if original is None or isinstance(original, Opening):
        return
    stand_in = Opening(_OPEN, (), {"__doc__": original.__doc__, "__module__": _NAME})
    stand_in.original = original
    _replace(original, stand_in)


def _replace(old: object, new: object) -> None:
    """Put `new` in the place of `old` in every module that has it under a name of its own, too."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if isinstance(names, dict):
            for name in [name for name, value in list(names.items()) if value is old]:
                names[name] = new


def _open_packed(original: Any, path: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Open what is beside a signpost."""
    from .signpost import COMPRESSED, is_signpost, packed_path

    options = {key: value for key, value in options.items() if key != "filename"}
    try:
        packed = packed_path(path)
    except FileNotFoundError:
        if is_signpost(path):
            raise
        return original(path, *arguments, **options)  # another process has unpacked it meanwhile
    if packed.endswith(COMPRESSED):
        try:
            from .unpack import unpacked
        except ImportError as error:
            raise ImportError(f"{packed}: cannot be unpacked, as this application's loader lacks the means ({error})") from error
        return original(unpacked(path), *arguments, **options)
    from .opening import PackedOpen

    return PackedOpen(packed, *arguments, **options)
