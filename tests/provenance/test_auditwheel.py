"""An SBOM that auditwheel wrote of a library that it copied into a wheel."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.bundles.wheelsmith import build_wheel
from tests.provenance.wheels import NOISE, names, read, run

SBOM = "pngver-1.0.dist-info/sboms/auditwheel.cdx.json"
METADATA = {
    "METADATA": b"Metadata-Version: 2.1\nName: pngver\nVersion: 1.0\n",
    "WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {tag}\n",
}
SOURCE = """
#include <Python.h>
extern const char *png_get_libpng_ver(const void *);
static PyObject *version(PyObject *self, PyObject *none) { return PyUnicode_FromString(png_get_libpng_ver(0)); }
static PyMethodDef methods[] = {{"version", version, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_png", 0, -1, methods};
PyMODINIT_FUNC PyInit__png(void) { return PyModule_Create(&module); }
"""


def repaired(folder: Path) -> Path:
    """Return a wheel with an extension that needs libpng, as auditwheel repairs it."""
    pytest.importorskip("auditwheel")
    version = (
        subprocess.run(["patchelf", "--version"], capture_output=True, text=True, check=False).stdout if shutil.which("patchelf") else ""
    )
    if tuple(map(int, re.findall(r"\d+", version))) < (0, 14, 5):
        pytest.skip("auditwheel needs patchelf 0.14.5")
    extension = f"_png{sysconfig.get_config_var('EXT_SUFFIX')}"
    (folder / "png.c").write_text(SOURCE)
    include = f"-I{sysconfig.get_paths()['include']}"
    compiled = subprocess.run(
        ["cc", "-shared", "-fPIC", include, "png.c", "-o", extension, "-l:libpng16.so.16"], cwd=folder, capture_output=True, check=False
    )
    if compiled.returncode:
        pytest.skip("libpng or a compiler is missing")
    tag = f"cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-linux_x86_64"
    files = {"pngver/__init__.py": b"", "pngver/notes.txt": NOISE, f"pngver/{extension}": (folder / extension).read_bytes()}
    metadata = {name: data.replace(b"{tag}", tag.encode()) for name, data in METADATA.items()}
    wheel = build_wheel(folder, files, dist_info="pngver-1.0.dist-info", name=f"pngver-1.0-{tag}.whl", metadata=metadata)
    subprocess.run([sys.executable, "-m", "auditwheel", "repair", "-w", folder / "repaired", wheel], check=True, capture_output=True)
    (made,) = (folder / "repaired").iterdir()
    return made


@pytest.mark.slow
@pytest.mark.skipif(sysconfig.get_platform() != "linux-x86_64", reason="the wheel is for x86-64 Linux")
def test_the_package_of_a_dropped_library_leaves_auditwheels_sbom(tmp_path: Path) -> None:
    wheel = repaired(tmp_path)
    if SBOM not in names(wheel):
        pytest.skip("auditwheel found no package that the library is from")
    before = read(wheel, SBOM)
    run(wheel, exclude={"paths": ["pngver/notes.txt"]})
    assert read(wheel, SBOM) == before
    (library,) = [name for name in names(wheel) if name.startswith("pngver.libs/libpng16")]
    manifest = run(wheel, exclude={"paths": [library]})
    after = read(wheel, SBOM)
    assert JsonStrictValidator(SchemaVersion.V1_4).validate_str(json.dumps(after)) is None
    main = before["metadata"]["component"]["bom-ref"]
    assert [each["bom-ref"] for each in after["components"]] == [main]
    assert after["dependencies"] == [{"ref": main, "dependsOn": []}]
    assert manifest.findings == ()
