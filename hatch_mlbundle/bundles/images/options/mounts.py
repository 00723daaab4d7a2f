"""How models come into a container from outside: for Docker and Podman Compose, and for Kubernetes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A model, or a cache of them, by the name of its folder or file outside; `target` is its path in the container."""

    name: str
    target: str


def copy_commands(mounts: Sequence[Mount]) -> Iterator[str]:
    """Yield the commands that take models out of an image."""
    yield "mkdir -p models && docker create --name full app:latest"
    for each in mounts:
        yield f"docker cp -L {shlex.quote(f'full:{each.target}')} {shlex.quote(f'models/{each.name}')}"
    yield "docker rm full"


def compose_file(mounts: Sequence[Mount]) -> str:
    """Return a file for `docker compose` (compose-spec, 05-services.md, "volumes", the long syntax)."""
    lines = ["services:", "  app:", "    image: app:latest", "    volumes:"]
    for each in mounts:
        lines += [
            "      - type: bind",
            f"        source: {_text(f'./models/{each.name}')}",
            f"        target: {_text(each.target)}",
            "        read_only: true",
        ]
    return "\n".join(lines)


def volume_pod(mounts: Sequence[Mount]) -> str:
    """Return a pod whose models lie in a volume (kubernetes.io, "Persistent Volumes", "Using subPath")."""
    lines = [
        *_pod(mounts),
        "  volumes:",
        "    - name: models",
        "      persistentVolumeClaim:",
        "        claimName: models",
        "        readOnly: true",
    ]
    return "\n".join(lines)


def image_pod(mounts: Sequence[Mount]) -> str:
    """Return a pod whose models are an image of their own (kubernetes.io, "Use an Image Volume With a Pod")."""
    lines = [
        "# or, from Kubernetes 1.33 on, the image that models.Dockerfile makes:",
        *_pod(mounts),
        "  volumes:",
        "    - name: models",
        "      image:",
        "        reference: registry.example/app-models:1",
        "        pullPolicy: IfNotPresent",
    ]
    return "\n".join(lines)


def model_dockerfile(mounts: Sequence[Mount]) -> str:
    """Return a Dockerfile of an image that is nothing but models, each at `/NAME`."""
    return "\n".join(
        ["FROM scratch", *(f"COPY {json.dumps([f'models/{each.name}', f'/{each.name}'], ensure_ascii=False)}" for each in mounts)]
    )


def _pod(mounts: Sequence[Mount]) -> Iterator[str]:
    yield from ("apiVersion: v1", "kind: Pod", "metadata:", "  name: app", "spec:", "  containers:", "    - name: app")
    yield from ("      image: app:latest", "      volumeMounts:")
    for each in mounts:
        yield from (
            "        - name: models",
            f"          mountPath: {_text(each.target)}",
            f"          subPath: {_text(each.name)}",
            "          readOnly: true",
        )


def _text(value: str) -> str:
    """Return a string of YAML: plain where it is a simple path, else in quotes (every JSON string is one of YAML 1.2)."""
    simple = value.replace("/", "").replace(".", "").replace("-", "").replace("_", "")
    return value if simple.isascii() and simple.isalnum() and value[0] in "/." else json.dumps(value, ensure_ascii=False)
