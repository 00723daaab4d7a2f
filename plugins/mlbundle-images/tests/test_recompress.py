"""PNG and JPEG pictures get smaller, and show and say the same; what nothing would prove stays."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest
from mlbundle_images.recompress import RecompressJpeg, RecompressPng
from picturesmith import huge, jpeg, picture, png, with_chunk
from PIL import Image, ImageCms, PngImagePlugin

from hatch_mlbundle.errors import ConfigurationError
from hatch_mlbundle.testing import Run, run


def pngs(**files: bytes) -> Run:
    return run(RecompressPng, {f"pkg/{name}.png": data for name, data in files.items()})


def told() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Copyright", "me")
    info.add_itxt("Title", "Bäume", zip=True)
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    return info


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = 6
    made[0x8298] = "me"
    return made


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_samples_and_mode_stay(mode: str) -> None:
    data = png(mode)
    made = pngs(a=data)
    assert made.saved > 0
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(made.files["pkg/a.png"]))
    assert (before.mode, before.tobytes(), before.getpalette()) == (after.mode, after.tobytes(), after.getpalette())


@pytest.mark.parametrize(
    "options",
    [
        {"pnginfo": told()},
        {"icc_profile": PROFILE},
        {"exif": exif()},
        {"dpi": (300, 300)},
        {"transparency": (0, 0, 0)},
        {"save_all": True, "append_images": [picture(size=(48, 40)).rotate(90), picture().rotate(180)], "duration": 50, "loop": 3},
    ],
    ids=lambda each: next(iter(each)),
)
def test_what_a_png_says_stays(options: dict[str, Any]) -> None:
    data = png(**options)
    made = pngs(a=data)
    assert made.saved > 0
    before, after = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(made.files["pkg/a.png"]))
    before.load()
    after.load()
    assert before.info == after.info
    assert getattr(before, "n_frames", 1) == getattr(after, "n_frames", 1)


GREY = png("L")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png() + b"hidden", "other data follows"),
        (with_chunk(png(), b"npTc", b"nine"), "'npTc'"),
        (with_chunk(png(), b"iDOT", bytes(28)), "'iDOT'"),
        (GREY[:8] + with_chunk(GREY, b"CgBI", bytes(4))[33:49] + GREY[8:], "another format"),
        (huge(100_000, 100_000), "max-pixels"),
        (with_chunk(with_chunk(huge(7_000, 7_000), b"fcTL", bytes(26)), b"fcTL", bytes(26)), "max-pixels"),
        (with_chunk(GREY, b"IHDR", GREY[16:29]), "beside its pixels"),
        (jpeg(), "not what its name says"),
        (b"GIF89a" + bytes(20), "not what its name says"),
    ],
)
def test_pngs_that_stay(data: bytes, reason: str) -> None:
    made = pngs(a=data)
    assert made.files["pkg/a.png"] == data
    assert reason in made.kept["pkg/a.png"]
    assert not made.findings


@pytest.mark.parametrize("data", [png()[:-20], png()[:40], GREY[:60] + bytes([GREY[60] ^ 1]) + GREY[61:], b"\x89PNG\r\n\x1a\n"])
def test_damaged_pngs_are_told_of(data: bytes) -> None:
    made = pngs(a=data)
    assert made.files["pkg/a.png"] == data
    assert made.codes == ["MB931"]


@pytest.mark.parametrize(
    "options",
    [{}, {"exif": exif()}, {"icc_profile": PROFILE}, {"comment": b"note"}, {"dpi": (72, 72)}, {"progressive": True}, {"subsampling": 0}],
)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs(mode: str, options: dict[str, Any]) -> None:
    data = jpeg(mode, optimize=False, **options)
    made = run(RecompressJpeg, {"pkg/a.jpg": data})
    after = made.files["pkg/a.jpg"]
    one, other = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(after))
    assert one.tobytes() == other.tobytes()
    assert one.getexif() == other.getexif()
    assert one.info.get("icc_profile") == other.info.get("icc_profile")
    assert made.saved > 0 or made.kept


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (jpeg() + b"hidden", "other data follows"),
        (jpeg()[:2] + b"\xff\xe2\x00\x08MPF\0II" + jpeg()[2:], "other pictures"),
        (jpeg().replace(b"\xff\xc0", b"\xff\xc9", 1), "coded in a way"),
        (png(), "not what its name says"),
    ],
)
def test_jpegs_that_stay(data: bytes, reason: str) -> None:
    made = run(RecompressJpeg, {"pkg/a.jpeg": data})
    assert made.files["pkg/a.jpeg"] == data
    assert reason in made.kept["pkg/a.jpeg"]


@pytest.mark.parametrize("data", [jpeg()[:-30], jpeg()[:30], b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x00"])
def test_damaged_jpegs_are_told_of(data: bytes) -> None:
    made = run(RecompressJpeg, {"pkg/a.jpg": data})
    assert made.files["pkg/a.jpg"] == data
    assert made.codes == ["MB931"]


def test_pictures_that_are_compared_by_checksum_stay() -> None:
    data = png()
    made = run(RecompressPng, {"pkg/a.png": data, "pkg/registry.py": f'{{"a.png": "{hashlib.sha256(data).hexdigest()}"}}'.encode()})
    assert made.kept == {"pkg/a.png": "another file names its checksum"}


def test_level() -> None:
    with pytest.raises(ConfigurationError, match=r"tool\.mlbundle\.recompress_png\.level: must be from 0 to 6, not 9"):
        run(RecompressPng, {"a.png": png()}, {"level": 9})


def test_other_formats_are_left_alone() -> None:
    made = io.BytesIO()
    picture().save(made, "ICO")
    assert not run(RecompressPng, {"pkg/a.ico": made.getvalue(), "pkg/a.webp": b"RIFF"}).plan
