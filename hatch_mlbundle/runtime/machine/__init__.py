"""Whether the libraries of a bundle still have code for this machine's GPUs and CPU (docs/machine-statement.md).

The standard library only; where nothing was taken out, it looks into some folders, and that is all.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

__all__ = ["check"]


def check(*folders: str | os.PathLike[str]) -> bool:
    """Say whether there is code for the CPU and all GPUs that CUDA would see; where not, print a line for each to standard error.

    What is said of bundles is looked for in these folders and all below them; without any, where a program finds its libraries: in the
    frozen application, on `sys.path`, in the container image. Never raises; what cannot be read, and a machine without a GPU, lack nothing.
    """
    from .statements import claims

    found = list(claims(folders))
    if not found:
        return True
    from .telling import tell

    return not tell(found)
