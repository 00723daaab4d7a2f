from __future__ import annotations

import re
import shlex

import pytest

from hatch_mlbundle.bundles.images.options.caches import PIP_INSTALL
from hatch_mlbundle.bundles.images.options.instructions import Instruction, copied, folded, parse


@pytest.mark.parametrize(
    ("created_by", "instruction"),
    [
        ("/bin/sh -c pip install torch", "RUN pip install torch"),
        ("RUN /bin/sh -c pip install   torch # buildkit", "RUN pip install torch"),
        ("RUN |1 TOKEN=secret /bin/sh -c pip install torch # buildkit", "RUN pip install torch"),
        ("|2 A=1 B=2 /bin/sh -c make", "RUN make"),
        ("RUN /bin/bash -o pipefail -c curl x | sh # buildkit", "RUN curl x | sh"),
        ("RUN pip install torch", "RUN pip install torch"),
        ("/bin/sh -c #(nop) COPY dir:" + "0" * 64 + " in /app ", "COPY dir:" + "0" * 64 + " in /app"),
        ("COPY . /app # buildkit", "COPY . /app"),
        ("/bin/sh -c apt-get update &&     apt-get install -y 'a   b'", "RUN apt-get update && apt-get install -y 'a   b'"),
        ("debootstrap", "debootstrap"),
        ("", ""),
    ],
)
def test_history_is_read_as_each_builder_writes_it(created_by: str, instruction: str) -> None:
    assert str(parse(created_by)) == instruction


@pytest.mark.parametrize(
    "text",
    ["cat <<EOF > x", "echo 'open", "sleep 9 &", "make # now", "a\x1bb", '["pip", "install"]', "make \\"],
)
def test_what_cannot_be_extended_is_not(text: str) -> None:
    assert Instruction(verb="RUN", text=text).followed_by("rm x") is None
    assert Instruction(verb="RUN", text=text).with_flag(PIP_INSTALL, "--no-cache-dir") is None


def test_only_a_run_can_be_extended() -> None:
    assert parse("COPY . /app").followed_by("rm x") is None
    assert parse("debootstrap").followed_by("rm x") is None
    assert parse("RUN make;").followed_by("rm x") == "RUN make && rm x"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pip install torch", "pip install --no-cache-dir torch"),
        ("/opt/venv/bin/pip3 install torch", "/opt/venv/bin/pip3 install --no-cache-dir torch"),
        ("python3.12 -m pip install -r x", "python3.12 -m pip install --no-cache-dir -r x"),
        ("pip install a && pip install b", "pip install --no-cache-dir a && pip install --no-cache-dir b"),
        ("echo 'pip install a' && pip install b", "echo 'pip install a' && pip install --no-cache-dir b"),
    ],
)
def test_a_flag_goes_behind_the_program_but_not_into_quotes(before: str, after: str) -> None:
    assert parse(f"RUN {before}").with_flag(PIP_INSTALL, "--no-cache-dir") == f"RUN {after}"


@pytest.mark.parametrize("text", ["pip install --no-cache-dir torch", "uv pip3x install", "pipx install a", "make"])
def test_a_flag_is_not_put_where_it_is_or_where_the_program_is_another(text: str) -> None:
    assert parse(f"RUN {text}").with_flag(PIP_INSTALL, "--no-cache-dir") is None


def test_a_chain_is_folded_into_lines_that_mean_the_same() -> None:
    line = "RUN apt-get update && apt-get install -y gcc g++ make && echo 'a && b' && rm -rf /var/lib/apt/lists/*"
    lines = folded(line).split("\n")
    assert len(lines) == 4
    assert all(each.endswith(" \\") for each in lines[:-1])
    joined = re.sub(r"\\\n", "", folded(line))
    assert shlex.split(joined) == shlex.split(line)
    assert folded("RUN make") == "RUN make"


def test_what_was_copied_and_where_to() -> None:
    assert copied(parse("COPY --chown=app a b /app/ # buildkit")) == (("a", "b"), "/app/")
    assert copied(parse(f"/bin/sh -c #(nop) ADD file:{'0' * 64} in / ")) == ((), "/")
    assert copied(parse("COPY /opt/venv /opt/venv # buildkit")) is None
    assert copied(parse("COPY --from=build a /b")) is None
    assert copied(parse("RUN cp a /b")) is None


def test_history_without_end_is_no_instruction() -> None:
    assert parse("RUN " + "pip install x && " * 5_000).verb == ""
