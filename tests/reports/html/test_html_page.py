"""The page as text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest

from hatch_mlbundle.manifest import DetailRow, Manifest
from hatch_mlbundle.reports.accuracy import models_report
from hatch_mlbundle.reports.html import page as page_module
from hatch_mlbundle.reports.html.data import PLAIN, data_script, report_data
from hatch_mlbundle.reports.html.page import html_report
from tests.reports.html.reportsmith import (
    BUDGET,
    HOSTILE,
    TRIALS,
    Entry,
    baseline_manifest,
    full_manifest,
    hostile_manifest,
    manifest_of,
    many_files,
    tensor,
)


class Elements(HTMLParser):
    """What a browser would find: each element with its attributes and the text right in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))
        self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = False

    def handle_data(self, data: str) -> None:
        if self.open:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for each, attributes, text in self.found if each == tag]


def data_of(text: str) -> Any:
    """Return the data that lies in a page."""
    ((attributes, data),) = [(attributes, text) for attributes, text in Elements(text).of("script") if attributes.get("id") == "data"]
    return json.loads(data if attributes["type"] == "application/json" else zlib.decompress(base64.b64decode(data)))


def test_the_page_refers_to_nothing() -> None:
    found = Elements(html_report(full_manifest(), baseline_manifest(), BUDGET)).found
    assert {tag for tag, _, _ in found} == {
        "html",
        "head",
        "meta",
        "link",
        "title",
        "style",
        "body",
        "noscript",
        "h1",
        "p",
        "div",
        "script",
    }
    addresses = [attributes[key] for _, attributes, _ in found for key in ("src", "href", "action", "srcset", "data") if key in attributes]
    assert addresses == ["data:,"]
    styles = "".join(text for tag, _, text in found if tag == "style")
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_policy_allows_its_own_scripts_and_styles_and_no_address() -> None:
    elements = Elements(html_report(full_manifest()))
    ((policy, _),) = [(attributes, text) for attributes, text in elements.of("meta") if "http-equiv" in attributes]
    content = policy["content"] or ""
    directives = dict(part.strip().split(" ", 1) for part in content.split(";"))
    assert directives["default-src"] == directives["base-uri"] == directives["form-action"] == "'none'"
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        texts = [text for attributes, text in elements.of(tag) if attributes.get("id") != "data"]
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert directives[directive].split() == [f"'sha256-{each}'" for each in hashes]
    assert re.findall(r"\w+://|\*|unsafe", content) == []


def test_scripts_never_take_text_for_markup() -> None:
    for each in files(page_module.__package__).iterdir():
        if each.name.endswith(".js"):
            assert (
                re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttpRequest", each.read_text()) == []
            ), each.name


def test_every_part_of_the_package_is_in_the_page() -> None:
    shipped = {each.name for each in files(page_module.__package__).iterdir() if each.name.endswith((".js", ".css"))}
    assert shipped == {*page_module._STYLES, *page_module._SCRIPTS}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_data_and_nothing_else(name: str) -> None:
    plain, hostile = (html_report(manifest_of([Entry(path=f"d/{each}", before=1, after=1)], name=each)) for each in ("name", name))
    assert [tag for tag, _, _ in Elements(hostile).found] == [tag for tag, _, _ in Elements(plain).found]
    assert data_of(hostile)["names"] == [name.rpartition("/")[2]]
    assert data_of(hostile)["name"] == name
    hostile.encode()  # what UTF-8 cannot hold is escaped


def test_hostile_texts_add_no_element() -> None:
    assert {tag for tag, _, _ in Elements(html_report(hostile_manifest())).found} == {
        tag for tag, _, _ in Elements(html_report(full_manifest())).found
    }


def test_the_same_manifest_gives_the_same_bytes() -> None:
    first, second = (html_report(Manifest.from_json(full_manifest().to_json()), baseline_manifest(), BUDGET) for _ in range(2))
    assert first == second
    assert html_report(many_files(3_000)) == html_report(many_files(3_000))


def test_twenty_thousand_files_take_less_than_a_megabyte() -> None:
    text = html_report(many_files(20_000), many_files(19_000))
    assert len(text.encode()) < 1_000_000
    assert data_of(text)["count"] == 20_000


def test_small_data_is_plain_and_large_data_deflated() -> None:
    small, large = ({"text": "<&>" * count} for count in (10, PLAIN))
    assert "application/json" in data_script(small)
    assert "application/octet-stream" in data_script(large)
    assert data_of(data_script(small)) == small
    assert data_of(data_script(large)) == large
    assert len(data_script(large)) < PLAIN


def test_an_empty_artifact_has_a_page() -> None:
    document = data_of(html_report(manifest_of([])))
    assert (document["count"], document["names"], document["columns"]["size"]) == (0, [], [])


def test_columns_tell_every_file_before_after_and_in_the_baseline() -> None:
    document = report_data(full_manifest(), baseline_manifest())
    paths = [paths_of(document, row) for row in range(document["count"])]
    states = {row.path: row for row in full_manifest().files}
    former = {row.path: row.after for row in baseline_manifest().files}
    assert paths == sorted({*states, *former})
    for row, path in enumerate(paths):
        ours = states.get(path)
        assert sizes(document, row, "size", "packed") == expected(ours.after if ours else None)
        assert sizes(document, row, "was", "wasPacked") == expected(ours.before if ours else None)
        assert sizes(document, row, "base", "basePacked") == expected(former.get(path))


def paths_of(document: dict[str, Any], row: int) -> str:
    """Return a row's path as the page puts it together."""
    parts, folder = [document["names"][row]], document["columns"]["folder"][row]
    while folder:
        folder, name = document["folders"][folder]
        parts.insert(0, name)
    return "/".join(parts)


def sizes(document: dict[str, Any], row: int, size: str, packed: str) -> tuple[int, int]:
    columns = document["columns"]
    others = (0, 0) if size == "size" else (columns["size"][row], columns["packed"][row])
    return columns[size][row] + others[0], columns[packed][row] + others[1]


def expected(state: Any) -> tuple[int, int]:
    return (state.size, state.compressed) if state else (-1, -1)


@pytest.mark.parametrize("path", ["a", "a/b", "/a", "/a/b", "a//b", "a/b/c/d", " / "])
def test_odd_paths_are_put_together_again(path: str) -> None:
    document = report_data(manifest_of([Entry(path=path, before=1, after=1)]))
    assert paths_of(document, 0) == path


def test_a_file_belongs_to_the_step_that_saved_most_of_it() -> None:
    document = report_data(full_manifest())
    steps = {paths_of(document, row): document["columns"]["step"][row] for row in range(document["count"])}
    assert steps["app/model/model.safetensors"] == 2
    assert steps["app/tests/data.bin"] == 0
    assert steps["app/__init__.py"] == -1
    assert steps["app/model/config.json"] == -1  # it was added


def test_a_step_that_is_not_there_is_none() -> None:
    document = report_data(replace(full_manifest(), steps=(), details=()))
    assert set(document["columns"]["step"]) == {-1}


ODD = [None, True, -1, 2**80, 10**400, 0.5, float("nan"), float("inf"), "", "constructor", [], [1], [None, None], [{}], {}, {"a": 1}]


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_details_in_any_words_have_a_page(value: object) -> None:
    """A step may say what it likes, and JSON can hold it: what is not as docs/manifest.md describes it is passed over."""
    trial, weights = TRIALS[0], tensor("w", 400, 100)
    told: list[dict[str, Any]] = [
        {"search": value},
        {"tensors": value},
        {"size": value},
        {"setting": value},
        {"dtype": value},
        {"sqnr": value},
    ]
    told += [{"search": [trial, {**trial, key: value}]} for key in trial]
    told += [{"tensors": [weights, {**weights, key: value}]} for key in weights]
    details = tuple(DetailRow(step=step, path="app/model/model.safetensors", detail=each) for each in told for step in (1, 2))
    accuracy = {"metric": value, "at-least": value, "at-most": value}
    manifest = replace(full_manifest(), details=details, configuration={"accuracy": accuracy})
    document = data_of(html_report(manifest))
    assert len(document["models"]["models"]) == 20
    assert models_report(manifest) is not None


def test_what_is_too_much_to_list_is_one_row() -> None:
    twins = [
        Entry(path=f"{group}/{copy}", before=group + 1, after=group + 1, sha256=str(group)) for group in range(130) for copy in range(3)
    ]
    told = report_data(manifest_of(twins))["duplicates"]
    assert (len(told["groups"]), told["others"]["count"], told["others"]["copies"]) == (100, 30, 90)
    assert told["wasted"] == sum(2 * (group + 1) for group in range(130))
    assert told["wasted"] == sum(group["wasted"] for group in told["groups"]) + told["others"]["wasted"]
