// What takes the space: packages, kinds, the largest files, and files that are there more than once.
"use strict";

{
  const { element, formatSize, formatCount } = MLB;
  const { panel, table, file, share, details, growth, sum, counted } = MLB.parts;
  const SHOWN = 15;
  const GROUPS = 10; // about as many as there are kinds: the two tables stand side by side

  MLB.panels.packages = (report) => groups(report, "packages", "By package", "Package", report.owner, report.owners, MLB.parts.owner);
  MLB.panels.kinds = (report) => groups(report, "kinds", "By kind", "Kind", report.kind, report.kinds, MLB.visible);

  function groups(report, id, title, heading, numbers, names, named) {
    const items = totals(report, numbers, names);
    if (!items.length) return null;
    const { after } = report.totals;
    const of = (key, write) => ({ cell: (item) => write(item[key]), rest: (rest) => write(sum(rest, (item) => item[key])) });
    const columns = [
      { title: heading, cell: (item) => named(item.name) },
      { title: "Installed", number: true, ...of("size", formatSize) },
      { title: "Share", number: true, ...of("size", (size) => share(size, after.installed)) },
    ];
    const last = ["All", formatSize(after.installed), null];
    if (report.packs) {
      columns.push({ title: "Compressed", number: true, ...of("packed", formatSize) });
      last.push(formatSize(after.size));
    }
    columns.push({ title: "Files", number: true, ...of("files", formatCount) });
    last.push(formatCount(after.files));
    if (report.steps.length) {
      columns.push({ title: "By steps", number: true, ...of("grown", growth) });
      last.push(growth(after.installed - report.totals.before.installed));
    }
    return panel(
      id,
      title,
      table({ caption: `${title}, after all steps`, hideCaption: true, columns, items, shown: GROUPS, last: [...structure(report), last] }),
    );
  }

  // The archive's own bytes belong to no file: with them, the compressed sizes add up.
  function structure(report) {
    if (!report.packs || !report.totals.after.structure) return [];
    return [["(archive headers)", null, null, formatSize(report.totals.after.structure), null, ...(report.steps.length ? [null] : [])]];
  }

  function totals(report, numbers, names) {
    const items = names.map((name) => ({ name, size: 0, packed: 0, files: 0, grown: 0 }));
    for (let row = 0; row < report.count; row++) {
      const item = items[numbers[row]];
      const there = report.size[row] >= 0;
      if (there) {
        item.size += report.size[row];
        item.packed += Math.max(0, report.packed[row]);
        item.files += 1;
      }
      item.grown += Math.max(0, report.size[row]) - Math.max(0, report.was[row]);
    }
    return items.filter((item) => item.files || item.grown).sort((a, b) => b.size - a.size || (a.name < b.name ? -1 : 1));
  }

  const RANKINGS = {
    size: { title: "Installed", of: (report, row) => report.size[row], write: formatSize },
    packed: { title: "Compressed", of: (report, row) => report.packed[row], write: formatSize },
    grown: { title: "By steps", of: (report, row) => report.size[row] - Math.max(0, report.was[row]), write: growth },
  };
  const LARGEST = 50;

  MLB.panels.largest = (report) => {
    const place = element("div", {});
    let [ranking, within] = ["size", null];
    const draw = () => place.replaceChildren(largest(report, ranking, within, rank));
    const rank = (key) => {
      ranking = key;
      draw();
      place.querySelector(`[data-ranking="${key}"]`).focus();
    };
    MLB.on("zoom", (detail) => {
      within = detail.rows.length < report.count ? detail.rows : null;
      draw();
    });
    draw();
    return report.count ? panel("largest", "Largest files", place) : null;
  };

  // The files of the map's present view, ranked by one of the columns; a click on another column's heading ranks by that.
  function largest(report, ranking, within, rank) {
    const rows = (within ?? Array.from({ length: report.count }, (_, row) => row)).filter((row) => report.size[row] >= 0);
    const weight = (row) => (ranking === "grown" ? Math.abs(RANKINGS.grown.of(report, row)) : RANKINGS[ranking].of(report, row));
    rows.sort((a, b) => weight(b) - weight(a) || a - b);
    const keys = ["size", ...(report.packs ? ["packed"] : []), ...(report.steps.length ? ["grown"] : [])];
    const number = (key) => {
      const { title, of, write } = RANKINGS[key];
      const button = element("button", { type: "button", class: "rank", "data-ranking": key, onclick: () => rank(key) }, title);
      const rest = (others) => write(sum(others, (row) => of(report, row)));
      return { title: button, number: true, sort: key === ranking ? "descending" : null, cell: (row) => write(of(report, row)), rest };
    };
    const columns = [
      { title: "File", path: true, cell: file },
      ...keys.map(number),
      { title: "Package", class: "minor", cell: (row) => MLB.visible(report.owners[report.owner[row]]) },
      { title: "Kind", class: "minor", cell: (row) => MLB.visible(report.kinds[report.kind[row]]) },
    ];
    const caption = within
      ? `The largest of ${counted(rows.length, "file")} that the map shows`
      : `The largest of ${counted(rows.length, "file")}`;
    return table({ caption, columns, items: rows, shown: SHOWN, most: Math.min(LARGEST, rows.length) });
  }

  MLB.panels.duplicates = (report) => {
    const { groups: items, others, wasted } = report.duplicates;
    if (!report.hashed) return panel("duplicates", "Duplicates", element("p", {}, "Not known: the files were not hashed."));
    if (!items.length) return null;
    return panel(
      "duplicates",
      "Duplicates",
      element("p", {}, `Files that are there more than once take ${formatSize(wasted)} more than they would once.`),
      ["folder", "frozen"].includes(report.artifactKind)
        ? element("p", { class: "quiet" }, "A hard link counts as a file: on this disk it takes nothing more, but where the folder is copied or packed it may.")
        : null,
      table({
        caption: "Files with the same bytes",
        hideCaption: true,
        items,
        shown: SHOWN,
        unlisted: others.count,
        columns: [
          { title: "File", path: true, cell: copies },
          {
            title: "Wasted",
            number: true,
            cell: (group) => formatSize(group.wasted),
            rest: (rest) => formatSize(sum(rest, (group) => group.wasted) + others.wasted),
          },
          {
            title: "Copies",
            number: true,
            cell: (group) => formatCount(group.copies),
            rest: (rest) => formatCount(sum(rest, (group) => group.copies) + others.copies),
          },
        ],
        last: [["All", formatSize(wasted), formatCount(sum(items, (group) => group.copies) + others.copies)]],
      }),
    );
  };

  function copies(group) {
    const [first, ...more] = group.rows;
    const unlisted = group.copies - group.rows.length;
    const list = () =>
      element(
        "ul",
        { class: "plain" },
        more.map((row) => element("li", {}, file(row))),
        unlisted ? element("li", {}, `[${formatCount(unlisted)} others]`) : null,
      );
    return [file(first), details(`and ${counted(group.copies - 1, "copy", "copies")}`, list)];
  }
}
