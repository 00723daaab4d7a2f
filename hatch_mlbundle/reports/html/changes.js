// What is not as it was in the baseline: by package, kind and file, and which releases changed.
"use strict";

{
  const { element, formatSize } = MLB;
  const { panel, table, file, growth, sum } = MLB.parts;
  const [INSTALLED, PACKED, FILES] = [0, 1, 2];
  const SHOWN = 12;

  MLB.panels.changes = (report) => {
    const { changes } = report;
    if (!changes) return null;
    const title = "Changes";
    const same = !changes.files.length && !changes.versions.length && !grown([changes], INSTALLED);
    if (same) return panel("changes", title, against(report), element("p", {}, "No file differs."));
    return panel(
      "changes",
      title,
      against(report),
      changes.hashed
        ? null
        : element("p", { class: "quiet" }, "One of the two was read without hashes: files of the same size count as unchanged."),
      element(
        "div",
        { class: "columns" },
        groups("Package", changes.owners, changes, MLB.parts.owner),
        groups("Kind", changes.kinds, changes, MLB.visible),
      ),
      changes.versions.length ? versions(changes.versions) : null,
      changes.files.length ? files(changes) : null,
    );
  };

  function against(report) {
    return element("p", { class: "quiet" }, "Against ", element("bdi", {}, MLB.visible(report.baseline.name)));
  }

  function grown(groups, size) {
    return sum(groups, (group) => group.after[size] - group.before[size]);
  }

  // Groups that are as they were are one row with the smaller changes.
  function groups(heading, items, changes, named) {
    const moved = items.filter((group) => [INSTALLED, PACKED, FILES].some((size) => group.before[size] !== group.after[size]));
    const grew = (title, size) => ({
      title,
      number: true,
      cell: (group) => growth(grown([group], size)),
      rest: (rest) => growth(grown(rest, size)),
    });
    const had = (title, side) => {
      const of = (group) => group[side][INSTALLED];
      return { title, class: side === "before" && "minor", number: true, cell: (group) => formatSize(of(group)), rest: (rest) => formatSize(sum(rest, of)) };
    };
    const columns = [
      { title: heading, cell: (group) => named(group.name) },
      grew("Change", INSTALLED),
      ...(changes.packs ? [grew("Compressed", PACKED)] : []),
      had("Before", "before"),
      had("After", "after"),
    ];
    const last = ["All", ...columns.slice(1).map((column) => column.cell(changes))];
    const ordered = [...moved, ...items.filter((group) => !moved.includes(group))];
    return table({
      caption: `By ${heading.toLowerCase()}`,
      columns,
      items: ordered,
      shown: Math.min(SHOWN, Math.max(moved.length, 1)),
      last: [last],
    });
  }

  function versions(items) {
    return table({
      caption: "Releases that changed",
      items,
      shown: SHOWN,
      columns: [
        { title: "Distribution", cell: ([name]) => MLB.visible(name) },
        {
          title: "Before",
          cell: ([, before]) => (before === null ? element("span", { class: "quiet" }, "not there") : MLB.visible(before)),
        },
        { title: "After", cell: ([, , after]) => (after === null ? element("span", { class: "quiet" }, "not there") : MLB.visible(after)) },
      ],
    });
  }

  const BADGES = { added: "bad", removed: "good", changed: "quiet", moved: "quiet" };

  function files(changes) {
    const { others } = changes;
    const all = sum(changes.files, (change) => change.growth) + others.growth;
    const size = (value) => (value === null ? "" : formatSize(value));
    return table({
      caption: "Files that changed",
      items: changes.files,
      shown: 20,
      unlisted: others.count,
      columns: [
        {
          title: "File",
          path: true,
          cell: (change) => [
            file(change.file),
            change.former === null ? null : element("span", { class: "note" }, "from ", file(change.former)),
          ],
        },
        {
          title: "Change",
          number: true,
          cell: (change) => growth(change.growth),
          rest: (rest) => growth(sum(rest, (change) => change.growth) + others.growth),
        },
        { title: "Before", class: "minor", number: true, cell: (change) => size(change.before) },
        { title: "After", number: true, cell: (change) => size(change.after) },
        { title: "Status", class: "short", cell: (change) => element("span", { class: `badge ${BADGES[change.status]}` }, change.status) },
      ],
      last: [["All", growth(all)]],
    });
  }
}
