"""`python -m digit_reader FILE.csv`: print the digit of each row, and how many are right where the rows have labels."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from digit_reader.model import IMAGE_SIZE, load_model


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m digit_reader", description="Read handwritten digits.")
    parser.add_argument("file", type=Path, help=f"CSV; a row is {IMAGE_SIZE} pixels from 0 to 16 and, if known, the digit")
    path = parser.parse_args().file
    try:
        rows = _read(path)
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 2
    model = load_model()
    digits = [model.predict(row[:IMAGE_SIZE]) for row in rows]
    print(*digits, sep="")
    labels = [row[IMAGE_SIZE] for row in rows if len(row) > IMAGE_SIZE]
    if labels and len(labels) == len(rows):
        right = sum(digit == label for digit, label in zip(digits, labels, strict=True))
        print(f"{right} of {len(labels)} right ({right / len(labels):.2%})")
    return 0


def _read(path: Path) -> list[list[int]]:
    with path.open(newline="") as stream:
        rows = [[int(cell) for cell in row] for row in csv.reader(stream) if row]
    for number, row in enumerate(rows, 1):
        if len(row) not in (IMAGE_SIZE, IMAGE_SIZE + 1):
            raise ValueError(f"row {number}: {len(row)} numbers, not {IMAGE_SIZE} or {IMAGE_SIZE + 1}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
