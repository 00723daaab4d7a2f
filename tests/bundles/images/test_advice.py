from __future__ import annotations

import json
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pathspec
import pytest

from hatch_mlbundle.bundles.artifact import Side
from hatch_mlbundle.bundles.images.artifact import open_image
from hatch_mlbundle.bundles.zip_reader import Limits
from hatch_mlbundle.config import read_config
from hatch_mlbundle.manifest import AdviceRow, Saved
from hatch_mlbundle.plugins import load_registry
from tests.imagesmith import Member, config_of, hard_link, layer, link, oci_layout

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ELF = b"\x7fELF"
SITE = "opt/app/lib/python3.11/site-packages"
MODEL: list[tuple[str, bytes]] = [
    ("config.json", json.dumps({"model_type": "bert"}).encode()),
    ("model.safetensors", (2).to_bytes(8, "little") + b"{}" + os.urandom(9000)),
]


def scan(root: Path, *made: tuple[str, bytes]) -> Side:
    """Return what is found in an image of these layers, each with what made it."""
    layers = [data for _, data in made]
    config = config_of(layers, history=[{"created_by": created_by} for created_by, _ in made])
    with ThreadPoolExecutor(2) as pool:
        image = open_image(oci_layout(root, layers, "", config=config), pool, Limits())
        assert image is not None
        return image.scan()


def options(root: Path, *made: tuple[str, bytes]) -> dict[str, AdviceRow]:
    rows = scan(root, *made).advice
    assert [row.saved.installed for row in rows] == sorted((row.saved.installed for row in rows), reverse=True)
    return {row.name: row for row in rows}


def lines(row: AdviceRow, where: str = "Dockerfile") -> list[str]:
    """Return the lines for a file, but for comments."""
    found = [line for edit in row.edits if edit.where == where for line in edit.text.split("\n")]
    return [line for line in found if not line.startswith("#")]


def comments(row: AdviceRow) -> str:
    return "\n".join(line for edit in row.edits for line in edit.text.split("\n") if line.startswith("#"))


def some(size: int) -> bytes:
    return os.urandom(size)


def test_an_empty_image_and_one_without_waste_have_no_options(tmp_path: Path) -> None:
    assert scan(tmp_path / "none").advice == ()
    assert scan(tmp_path / "empty", ("RUN true", layer())).advice == ()
    assert scan(tmp_path / "good", ("COPY app /app", layer(("app/main.py", b"print(1)\n" * 99)))).advice == ()


@pytest.mark.parametrize(
    ("created_by", "path", "expected"),
    [
        ("RUN pip install torch", "root/.cache/pip/http/a", "RUN pip install --no-cache-dir torch"),
        ("/bin/sh -c uv sync --frozen", "home/me/.cache/uv/a", "RUN uv sync --no-cache --frozen"),
        ("RUN apt-get install -y gcc", "var/lib/apt/lists/a", "RUN apt-get install -y gcc && apt-get clean && rm -rf /var/lib/apt/lists/*"),
        ("RUN mamba env create -f e.yml", "opt/conda/pkgs/a/b", "RUN mamba env create -f e.yml && mamba clean -afy"),
        ("RUN apk add gcc", "var/cache/apk/a", "RUN apk add --no-cache gcc"),
        ("RUN npm ci", "root/.npm/_cacache/a", "RUN npm ci && npm cache clean --force"),
        ("RUN ./install.sh", "root/.cache/pip/a", "RUN ./install.sh && rm -rf /root/.cache/pip"),
        ("RUN dnf install gcc", "var/cache/libdnf5/a", "RUN dnf install gcc && dnf clean all"),
        ("RUN ./run.sh", "root/.ccache/a", "RUN ./run.sh && rm -rf /root/.ccache"),
        ("RUN ./run.sh", "root/.cache/matplotlib/a", "RUN ./run.sh && rm -rf /root/.cache/matplotlib"),
        ("RUN ./run.sh", "var/log/nginx/a", "RUN ./run.sh && find /var/log ! -type d -delete"),
        ("RUN pip install a", "r o$t/.cache/pip/b", "RUN pip install --no-cache-dir a"),
        ("RUN ./a", "r o$t/.cache/pip/b", "RUN ./a && rm -rf '/r o$t/.cache/pip'"),
    ],
)
def test_a_cache_is_left_out_in_the_instruction_that_makes_it(tmp_path: Path, created_by: str, path: str, expected: str) -> None:
    (row,) = scan(tmp_path / "i", (created_by, layer((path, some(5000)), ("app/x", some(3000))))).advice
    assert row.saved == Saved(installed=5000, compressed=5000)
    first = re.sub(r" \\\n", "", "\n".join(lines(row)))
    assert first.split("\n")[0] == expected
    assert str(created_by.removeprefix("/bin/sh -c ").removeprefix("RUN ")) in comments(row)


def test_a_cache_that_can_be_mounted_is_offered_so(tmp_path: Path) -> None:
    found = options(tmp_path / "i", ("RUN pip install torch", layer(("root/.cache/pip/a", some(5000)))))
    mounted = lines(found["pip-cache"])[1]
    assert mounted == "RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked pip install torch"


def test_what_a_base_image_left_is_told_without_an_instruction_to_write(tmp_path: Path) -> None:
    row = options(tmp_path / "i", ("debootstrap", layer(("var/lib/apt/lists/a", some(5000)))))["apt-lists"]
    assert lines(row) == []
    assert "# layer 1: debootstrap\n# end what makes it with: find /var/lib/apt/lists ! -type d -delete" in comments(row)


def test_bytes_behind_hard_links_are_only_saved_when_the_last_name_goes(tmp_path: Path) -> None:
    """As uv and conda link what they install to their caches."""
    members = [(f"{SITE}/p/a.so", some(6000)), hard_link("root/.cache/uv/a.so", f"{SITE}/p/a.so"), ("root/.cache/uv/b", some(500))]
    row = options(tmp_path / "i", ("RUN uv sync", layer(*members)))["uv-cache"]
    assert row.saved.installed == 500


def test_what_a_later_layer_deletes_is_deleted_where_it_is_made(tmp_path: Path) -> None:
    row = options(
        tmp_path / "i",
        ("RUN make", layer(("src/a b/x.o", some(5000)), ("src/a b/y.o", some(2000)), ("bin/app", some(900)), ("etc/conf", some(50)))),
        ("RUN rm -r src", layer((".wh.src", b""), ("etc/conf", some(60)))),
    )["hidden-files"]
    assert row.saved == Saved(installed=7050, compressed=7050)
    assert lines(row) == ["RUN make && rm -rf /src"]
    assert "# 50 B of layer 1 (/etc/conf)\n# are written again or deleted by layer 2: RUN rm -r src" in comments(row)


def test_hostile_names_of_deleted_files_are_quoted_or_left_out(tmp_path: Path) -> None:
    row = options(
        tmp_path / "i",
        ("RUN make", layer(("a; rm -rf $HOME", some(4000)), ("b\nRUN evil", some(3000)), ("app", some(9)))),
        ("RUN rm *", layer((".wh.a; rm -rf $HOME", b""), (".wh.b\nRUN evil", b""))),
    )["hidden-files"]
    assert lines(row) == ["RUN make && rm -rf '/a; rm -rf $HOME'"]
    assert all(line.isprintable() for edit in row.edits for line in edit.text.split("\n"))
    assert "RUN evil" not in lines(row)


@pytest.mark.parametrize(
    ("copy", "change", "expected"),
    [
        ("COPY app /app # buildkit", "RUN /bin/sh -c chown -R app:app /app # buildkit", "COPY --chown=app:app app /app"),
        ("COPY app /app", "RUN chmod 755 /app/x", "COPY --chmod=755 app /app"),
        (f"/bin/sh -c #(nop) COPY dir:{'0' * 64} in /app ", "/bin/sh -c chown -R 5:6 /app", "COPY --chown=5:6 SOURCE /app"),
        ("RUN make install", "RUN chown -R 5:6 /app", "RUN make install && chown -R 5:6 /app"),
    ],
)
def test_a_change_of_owner_is_made_where_the_files_are(tmp_path: Path, copy: str, change: str, expected: str) -> None:
    data = some(4000)
    row = options(tmp_path / "i", (copy, layer(("app/x", data))), (change, layer(("app/x", data))))["owner-copies"]
    assert row.saved == Saved(installed=4000, compressed=4000)
    assert lines(row) == [expected]


def test_a_change_of_owner_of_what_several_layers_made_is_made_in_each_for_what_it_made(tmp_path: Path) -> None:
    """The user has to be there before; and `chown` writes again what a lower layer has, even where it changes nothing."""
    copied, built = some(3000), [some(4000), some(500)]
    row = options(
        tmp_path / "i",
        ("COPY app /app # buildkit", layer(("app/x", copied))),
        ("RUN make install", layer(("app/lib/a", built[0]), ("app/lib/b", built[1]))),
        ("RUN useradd app && chown -R app:app /app", layer(("app/x", copied), ("app/lib/a", built[0]), ("app/lib/b", built[1]))),
    )["owner-copies"]
    assert lines(row) == [
        "RUN useradd app",
        "COPY --chown=app:app app /app",
        "RUN make install && find /app/lib ! -user app -exec chown -h app:app {} +",
    ]
    assert comments(row).endswith("# and leave out of layer 3: useradd app && chown -R app:app /app")


def test_what_a_later_layer_repeats_is_told_of_the_layer_that_makes_it(tmp_path: Path) -> None:
    model = {f"app/blip/{name}": data for name, data in MODEL}
    cache, lib = {"root/.cache/pip/a": some(3000)}, {"usr/a.bin": some(2000)}
    again = {**lib, "usr/b.bin": lib["usr/a.bin"]}
    found = options(
        tmp_path / "i",
        ("COPY src /app", layer(*model.items(), ("app/main.py", some(300)))),
        ("RUN pip install a", layer(*cache.items(), *again.items())),
        ("RUN chmod -R go-w / && true", layer(*model.items(), *cache.items(), *again.items())),
    )
    assert found["pip-cache"].saved.installed == 2 * 3000
    assert lines(found["pip-cache"])[0] == "RUN pip install --no-cache-dir a"
    assert found["models"].saved.installed == 2 * sum(map(len, model.values()))
    assert lines(found["models"], ".dockerignore") == ["src/blip"]
    assert "blip 9.03 kB" in found["models"].pros[0]
    assert lines(found["hard-links"]) == ["RUN pip install a && hardlink --ignore-time /usr"]


def test_a_change_of_owner_that_is_not_understood_is_told_all_the_same(tmp_path: Path) -> None:
    data = some(4000)
    row = options(tmp_path / "i", ("COPY app /app", layer(("app/x", data))), ("RUN chmod +x /app/x", layer(("app/x", data))))[
        "owner-copies"
    ]
    assert lines(row) == []
    assert "`COPY --chown=`" in comments(row)


def test_python_packages_lose_what_only_developers_need(tmp_path: Path) -> None:
    members: list[Member] = [
        (f"{SITE}/p/__init__.py", b"x = 1\n"),
        (f"{SITE}/p/tests/test_a.py", b"def test(): pass\n" * 40),
        (f"{SITE}/p/tests/data/big.bin", some(2000)),
        (f"{SITE}/p/lib.a", b"!<arch>\n" + some(500)),
        (f"{SITE}/p/include/p.h", b"int a;\n" * 9),
        (f"{SITE}/p/x.pyi", b"x: int\n"),
        (f"{SITE}/p/bin/test_native", ELF + some(800)),
        (f"{SITE}/p/test/api.py", b"y = 1\n"),
        (f"{SITE}/pytest/tests/test_b.py", b"def test(): pass\n"),
        (f"{SITE}/p/__pycache__/__init__.cpython-311.pyc", some(300)),
        (f"{SITE}/p/__pycache__/gone.cpython-311.pyc", some(300)),
        ("usr/lib/python3/dist-packages/p/tests/test_a.py", b"def test(): pass\n"),
    ]
    found = options(tmp_path / "i", ("RUN pip install p", layer(*members)))
    gone = [2, 3, 4, 5, 6, 7]
    assert found["optimize"].saved.installed == sum(len(data) for at in gone if isinstance(data := members[at - 1][1], bytes))
    assert found["optimize"].files == len(gone)
    assert found["bytecode"].saved.installed == 300
    assert lines(found["bytecode"]) == ["ENV PYTHONDONTWRITEBYTECODE=1", "RUN pip install --no-compile p"]


DPKG = "var/lib/dpkg/info/"


def test_build_tools_go_to_a_stage_of_their_own(tmp_path: Path) -> None:
    listed = b"/usr/bin/gcc-12\n/usr/lib/libgcc_s.so.1\n"
    found = options(
        tmp_path / "i",
        ("debootstrap", layer(("bin/sh", some(100)))),
        (
            "RUN apt-get install -y gcc",
            layer(
                ("usr/bin/gcc-12", some(5000)),
                ("usr/lib/libgcc_s.so.1", some(300)),
                (f"{DPKG}gcc-12.list", listed.split(b"\n")[0] + b"\n"),
                (f"{DPKG}libgcc-s1:amd64.list", listed.split(b"\n")[1] + b"\n"),
            ),
        ),
        ("RUN pip install x", layer((f"{SITE}/x/__init__.py", b"1\n"))),
    )
    row = found["build-tools"]
    assert row.saved.installed == 5000
    assert lines(row) == ["FROM BASE AS build", "RUN apt-get install -y gcc", "", "FROM BASE", "COPY --from=build /opt/app /opt/app"]
    assert "gcc-12 5.00 kB" in row.pros[0]


@pytest.mark.parametrize(
    ("install", "expected"),
    [
        ("apt-get update && apt-get install -y gcc python3", ["RUN apt-get update && apt-get install -y python3"]),
        (
            "apt-get update && apt-get install -y python3-pip",
            ["RUN apt-get update && apt-get install --no-install-recommends -y python3-pip"],
        ),
        ("apt-get update && apt-get install -y gcc", []),
        ("apt-get install -y gcc python3; true", []),
    ],
)
def test_the_last_stage_has_what_was_installed_beside_build_tools(tmp_path: Path, install: str, expected: list[str]) -> None:
    made = layer(("usr/bin/gcc-12", some(5000)), (f"{DPKG}gcc-12.list", b"/usr/bin/gcc-12\n"))
    row = options(tmp_path / "i", (f"RUN {install}", made))["build-tools"]
    last = re.sub(r" \\\n", "", "\n".join(lines(row))).partition("FROM BASE\n")[2]
    assert last.split("\n") == (expected or [""])


def test_bytecode_of_what_venv_installs_is_deleted(tmp_path: Path) -> None:
    members: list[Member] = [(f"{SITE}/pip/a.py", b"1"), (f"{SITE}/pip/__pycache__/a.cpython-311.pyc", some(300))]
    row = options(tmp_path / "i", ("RUN python3 -m venv /opt/app && /opt/app/bin/pip install p", layer(*members)))["bytecode"]
    assert "-name __pycache__" in lines(row)[-1]


def test_documentation_goes_and_licences_stay(tmp_path: Path) -> None:
    docs: list[Member] = [
        ("usr/share/doc/a/changelog.gz", some(700)),
        ("usr/share/doc/a/copyright", some(900)),
        ("usr/share/man/man1/a.1.gz", some(500)),
        ("usr/share/locale/de/LC_MESSAGES/a.mo", some(400)),
        ("usr/share/locale/locale.alias", some(200)),
    ]
    row = options(tmp_path / "i", ("RUN apt-get install a", layer(*docs)))["documentation"]
    assert row.saved.installed == 1600
    assert "'/usr/share/doc/*/copyright'" in "\n".join(lines(row))
    other = options(tmp_path / "j", ("RUN ./unpack", layer(*docs)))["documentation"]
    folders = "/usr/share/doc /usr/share/locale /usr/share/man"
    expected = f"RUN ./unpack && find {folders} ! -type d ! -name copyright ! -name locale.alias -delete"
    assert re.sub(r" \\\n", "", "\n".join(lines(other))) == expected


@pytest.mark.parametrize(
    ("copy", "expected"),
    [
        ("COPY . /app # buildkit", [".git", "tests"]),
        ("COPY src /app", ["src/.git", "src/tests"]),
        ("COPY ./src/ /app/", ["src/.git", "src/tests"]),
        (f"/bin/sh -c #(nop) COPY dir:{'0' * 64} in /app ", ["**/.git", "**/tests"]),
        ("COPY . . # buildkit", ["**/.git", "**/tests"]),
    ],
)
def test_the_context_is_told_what_not_to_send(tmp_path: Path, copy: str, expected: list[str]) -> None:
    row = options(
        tmp_path / "i", (copy, layer(("app/.git/objects/a", some(900)), ("app/tests/test_a.py", some(300)), ("app/main.py", some(500))))
    )["dockerignore"]
    assert row.saved.installed == 1200
    assert lines(row, ".dockerignore") == expected
    folder = expected[0].removesuffix(".git").replace("**/", "some/where/")
    spec = pathspec.GitIgnoreSpec.from_lines(expected)
    assert spec.match_file(f"{folder}.git/objects/a")
    assert spec.match_file(f"{folder}tests/test_a.py")
    assert not spec.match_file(f"{folder}main.py")


def test_what_comes_from_another_stage_or_a_command_is_no_matter_of_the_context(tmp_path: Path) -> None:
    data = layer(("app/.git/objects/a", some(900)), ("app/main.py", some(500)))
    for at, created_by in enumerate(("COPY /app /app # buildkit", "RUN git clone x /app", "COPY --from=build app /app")):
        assert "dockerignore" not in options(tmp_path / str(at), (created_by, data))


CUDA = [
    (f"{SITE}/torch/lib/libtorch_cuda.so", ELF + some(3000)),
    (f"{SITE}/torch/lib/libtorch_cpu.so", ELF + some(2500)),
    (f"{SITE}/nvidia/cublas/lib/libcublas.so.12", ELF + some(2000)),
    (f"{SITE}/triton/_C/libtriton.so", ELF + some(1000)),
]


def test_torch_for_cpus_is_offered_and_a_second_cuda_found(tmp_path: Path) -> None:
    found = options(
        tmp_path / "i",
        (
            "ADD file:x in /",
            layer(("usr/local/cuda-12.8/lib64/libcublas.so.12", ELF + some(1500)), ("usr/local/cuda-12.8/lib64/libx.so", ELF)),
        ),
        ("RUN pip install torch transformers", layer(*CUDA)),
    )
    assert found["cpu-wheel"].saved.installed == 6012
    expected = "RUN pip install --extra-index-url https://download.pytorch.org/whl/cpu torch transformers"
    assert lines(found["cpu-wheel"]) == [expected]
    assert found["cuda-twice"].saved.installed == 1504
    uv = options(tmp_path / "uv", ("RUN uv pip install torch", layer(*CUDA)))["cpu-wheel"]
    assert lines(uv) == ["RUN uv pip install --torch-backend=cpu torch"]
    other = options(tmp_path / "other", ("RUN conda env create -f e.yml", layer(*CUDA)))["cpu-wheel"]
    assert lines(other) == []  # pip would find torch there, and leave it
    assert comments(other).endswith("# install torch from https://download.pytorch.org/whl/cpu in it")
    assert "cpu-wheel" not in options(tmp_path / "cpu", ("RUN pip install torch", layer(CUDA[1])))


def test_conda_leaves_its_base_where_there_is_another_environment(tmp_path: Path) -> None:
    base: list[Member] = [("opt/conda/bin/conda", some(3000)), ("opt/conda/conda-meta/a.json", b"{}")]
    inner: list[Member] = [("opt/conda/envs/app/conda-meta/b.json", b"{}"), hard_link("opt/conda/envs/app/bin/same", "opt/conda/bin/same")]
    members: list[Member] = [*base, ("opt/conda/bin/same", some(4000)), *inner]
    row = options(tmp_path / "i", ("RUN conda env create", layer(*members)))["conda-base"]
    assert row.saved.installed == 3002
    assert "COPY --from=build /opt/conda/envs/app /opt/conda/envs/app" in lines(row)
    assert "conda-base" not in options(tmp_path / "j", ("RUN conda install a", layer(*base)))


def test_copies_are_told_by_whether_one_layer_has_both(tmp_path: Path) -> None:
    data, other = some(3000), some(2000)
    found = options(
        tmp_path / "i",
        ("RUN pip install a", layer(("usr/a.bin", data), ("usr/b.bin", data), ("x/o.bin", other))),
        ("RUN pip install b", layer((f"{SITE}/o/o.bin", other), link("l", "usr/a.bin"), ("empty", b""), ("empty2", b""))),
    )
    assert found["hard-links"].saved.installed == 3000
    assert lines(found["hard-links"]) == ["RUN pip install a && hardlink --ignore-time /usr"]
    assert found["repeated-files"].saved.installed == 2000
    assert f"again: /{SITE}/o" in comments(found["repeated-files"])


def test_copies_are_not_counted_where_another_option_takes_one_of_them(tmp_path: Path) -> None:
    data = some(3000)
    found = options(tmp_path / "i", ("RUN ./a", layer(("a.bin", data), ("root/.cache/pip/b", data))))
    assert set(found) == {"pip-cache"}


def test_the_additions_of_all_options_are_what_goes_with_all_of_them(tmp_path: Path) -> None:
    tests: list[Member] = [
        (f"{SITE}/p/tests/test_a.py", some(3000)),
        (f"{SITE}/p/tests/__pycache__/test_a.cpython-311.pyc", some(2500)),
        (f"{SITE}/p/__init__.py", some(100)),
        (f"{SITE}/p/__pycache__/__init__.cpython-311.pyc", some(4000)),
    ]
    rows = scan(tmp_path / "i", ("RUN pip install p", layer(*tests))).advice
    assert [(row.name, row.saved.installed, row.adds.installed) for row in rows] == [("bytecode", 6500, 6500), ("optimize", 5500, 3000)]


def test_hostile_history_is_never_told_as_lines_to_paste(tmp_path: Path) -> None:
    created_by = "RUN pip install a \x1b[31m\u202e; evil"
    row = options(tmp_path / "i", (created_by, layer(("root/.cache/pip/a", some(900)))))["pip-cache"]
    assert lines(row) == []
    assert comments(row).isprintable() or all(line.isprintable() for line in comments(row).split("\n"))


def test_the_same_image_gives_the_same_options(tmp_path: Path) -> None:
    made = ("RUN pip install a", layer(*((f"root/.cache/pip/{at}", some(50)) for at in range(50)), *CUDA))
    assert scan(tmp_path / "a", made).advice == scan(tmp_path / "b", made).advice


def document(row: AdviceRow, where: str) -> list[Any]:
    yaml = pytest.importorskip("yaml")
    return [yaml.safe_load(edit.text) for edit in row.edits if edit.where == where]


@pytest.mark.parametrize("folder", ["app/models/blip", "app/models/b l ü p", "app/0x10", "app/yes"])
def test_models_are_mounted_where_they_were(tmp_path: Path, folder: str) -> None:
    files = [(f"{folder}/{name}", data) for name, data in MODEL]
    found = options(tmp_path / "i", ("COPY . /app", layer(*files, ("app/main.py", some(300)))))
    row = found["models"]
    assert row.saved.installed == sum(len(data) for _, data in MODEL)
    assert lines(row, ".dockerignore") == [folder.removeprefix("app/")]
    (compose,) = document(row, "compose.yaml")
    (volume,) = compose["services"]["app"]["volumes"]
    assert {key: volume[key] for key in ("type", "target", "read_only")} == {"type": "bind", "target": f"/{folder}", "read_only": True}
    claimed, image = document(row, "pod.yaml")
    for pod in (claimed, image):
        (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
        assert (mount["name"], mount["mountPath"]) == (pod["spec"]["volumes"][0]["name"], f"/{folder}")
        assert volume["source"] == f"./models/{mount['subPath']}"
        assert mount["readOnly"]
    assert claimed["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "models"
    assert set(image["spec"]["volumes"][0]["image"]) == {"reference", "pullPolicy"}
    assert found["model-layers"].saved == Saved(installed=0, compressed=0)
    assert "9.03 kB" in found["model-layers"].pros[0]


def test_a_cache_of_the_hub_is_mounted_as_a_whole(tmp_path: Path) -> None:
    hub = "root/.cache/huggingface/hub/models--org--blip"
    members: list[Member] = [(f"{hub}/blobs/{at}", data) for at, (_, data) in enumerate(MODEL)]
    members += [link(f"{hub}/snapshots/abc/{name}", f"../../blobs/{at}") for at, (name, _) in enumerate(MODEL)]
    row = options(tmp_path / "i", ("RUN python download.py", layer(*members, (f"{hub}/refs/main", b"abc"))))["model-cache"]
    assert row.saved.installed == sum(len(data) for _, data in MODEL)
    (compose,) = document(row, "compose.yaml")
    assert compose["services"]["app"]["volumes"][0]["target"] == "/root/.cache/huggingface/hub"
    assert "# layer 1: RUN python download.py" in comments(row)


@pytest.mark.parametrize("folder", ["app/$(evil)", "app/a'b", "app/a\nb", "app/a:b", "app/{{ x }}`"])
def test_models_with_names_that_could_be_more_than_names_are_left_out(tmp_path: Path, folder: str) -> None:
    files = [(f"{folder}/{name}", data) for name, data in MODEL]
    assert "models" not in options(tmp_path / "i", ("COPY . /app", layer(*files)))


def test_documentation_of_local_programs_takes_nothing_with_it(tmp_path: Path) -> None:
    members: list[Member] = [
        ("usr/local/share/man/man1/a.1", some(900)),
        ("usr/local/share/app/data", some(300)),
        ("usr/share/x/doc/y", b"1"),
    ]
    row = options(tmp_path / "i", ("RUN make install", layer(*members)))["documentation"]
    assert row.saved.installed == 900
    assert "find /usr/local/share/man ! -type d" in "\n".join(lines(row))


def test_an_image_of_many_names_and_layers_is_judged_in_time_and_bounds(tmp_path: Path) -> None:
    """What grows with the square of names or layers, or a pattern that tries every way, would take minutes here."""
    names = [f"h{at}/.cache/pip/{'conda' * 60}/a" for at in range(1500)] + [f"e{at}/envs/x/conda-meta/a.json" for at in range(1500)]
    names += [f"app{at}/tests/a" for at in range(1500)] + [f"t{at}/site-packages/p/__pycache__/a.cpython-311.pyc" for at in range(500)]
    first = layer(*((name, name.encode()) for name in names))
    others = [("RUN rm", layer((f".wh.h{at}", b""), (f"e{at}/x", str(at).encode()))) for at in range(200)]
    start = time.monotonic()
    rows = scan(tmp_path / "i", ("COPY . / # buildkit", first), *others).advice
    assert time.monotonic() - start < 20
    assert rows
    assert max(len(edit.text) for row in rows for edit in row.edits) < 20_000


def test_lines_for_the_configuration_are_what_it_takes(tmp_path: Path) -> None:
    files: list[Member] = [(f"app/blip/{name}", data) for name, data in MODEL]
    headers: list[Member] = [(f"{SITE}/torch/include/a.h", b"int a;\n" * 99), (f"{SITE}/torch/__init__.py", b"x = 1\n")]
    rows = scan(tmp_path / "i", ("COPY . /app", layer(*files, *headers))).advice
    texts = [edit.text for row in rows for edit in row.edits if edit.where == "pyproject.toml"]
    assert len(texts) == 3
    for text in texts:
        read_config(tomllib.loads(text)["tool"]["mlbundle"], load_registry().option_types())
