"""How a container of an image is started, as its configuration says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .documents import parse_object
from .image import Image
from .layouts import Layout

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What engines set where an image sets none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The environment, the folder to start in, and the user (`NAME` or `NUMBER`, with `:GROUP` behind it or not; "" is root).

    `commands` are the words of the entrypoint, the command and the health check.
    """

    environment: Mapping[str, str]
    folder: str
    user: str
    commands: tuple[str, ...] = ()


def running_of(layout: Layout, image: Image) -> Running:
    """Return what an image's configuration says (OCI image specification, config.md, "Properties"); raises ArtifactError."""
    config = parse_object(layout, "its configuration", layout.document(image.config)).child("config")
    pairs = (str(each).partition("=") for each in config.get("Env", list, []))
    environment = {"PATH": _PATH, **{name: value for name, equals, value in pairs if name and equals}}
    folder = config.get("WorkingDir", str, "") or "/"
    if any("\0" in text for text in (folder, *environment, *environment.values())):
        raise layout.fault("has a NUL character in the environment or working folder of its configuration; no container can be started")
    health = config.child("Healthcheck").get("Test", list, [])
    commands = tuple(str(each) for each in (*config.get("Entrypoint", list, []), *config.get("Cmd", list, []), *health))
    return Running(environment=environment, folder=folder, user=config.get("User", str, ""), commands=commands)
