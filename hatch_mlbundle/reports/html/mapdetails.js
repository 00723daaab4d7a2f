// What is told of a box beside the map: the details of one, and a table of all that a view shows.
"use strict";

MLB.mapdetails = (() => {
  const GAP = 14;
  const ROWS = 50;

  // Pairs of term and text about a box's files: `row` is -1 where it is not one file, `total` the whole map's weight.
  function facts(report, row, sums, total) {
    const pairs = [];
    if (row >= 0) pairs.push(["Owner", MLB.visible(report.owners[report.owner[row]])], ["Kind", MLB.visible(report.kinds[report.kind[row]])]);
    else pairs.push(["Files", MLB.formatCount(sums.present)]);
    pairs.push(["Installed", sums.files ? MLB.formatSize(sums.size) : "not there any more"]);
    if (report.packs && sums.files) pairs.push(["Compressed", MLB.formatSize(sums.packed)]);
    pairs.push(["Share of the map", MLB.formatPercent(sums.weight, total)]);
    return [...pairs, ...savings(report, row, sums), ...changes(report, sums), ...MLB.libraries.facts(report, row)];
  }

  function savings(report, row, sums) {
    if (!report.steps.length) return [];
    if (sums.size === sums.before && sums.packed === sums.packedBefore) return [];
    const step = row >= 0 && report.step[row] >= 0 ? `, ${MLB.visible(report.steps[report.step[row]].name)}` : "";
    const packed = report.packs ? `, compressed ${MLB.formatGrowth(sums.packed - sums.packedBefore)}` : "";
    return [
      ["Before the steps", MLB.formatSize(sums.before)],
      ["Steps", `${MLB.formatGrowth(sums.size - sums.before)}${packed}${step}`],
    ];
  }

  function changes(report, sums) {
    if (!report.baseline) return [];
    const old = sums.baseFiles ? MLB.formatSize(sums.base) : "not there";
    const share = sums.baseFiles && sums.base ? ` (${MLB.formatPercent(sums.size - sums.base, sums.base)})` : "";
    return [["Baseline", old], ["Change", `${MLB.formatGrowth(sums.size - sums.base)}${share}`]];
  }

  // The box of details: `show` puts it beside a rectangle of the window as the description of an element, `hide` takes it away.
  function create(id) {
    const box = MLB.element("div", { class: "map-details", id, role: "tooltip", hidden: true });
    let described = null;
    function hide() {
      described?.removeAttribute("aria-describedby");
      described = null;
      box.hidden = true;
    }
    function show(target, title, pairs, near) {
      if (described !== target) {
        hide();
        const list = pairs.map(([term, text]) => [MLB.element("dt", {}, term), MLB.element("dd", {}, text)]);
        box.replaceChildren(MLB.element("p", {}, MLB.element("bdi", {}, title)), MLB.element("dl", {}, list));
        described = target;
        target.setAttribute("aria-describedby", id);
      }
      box.hidden = false;
      place(box, near);
    }
    return { box, show, hide };
  }

  // Right of and below the place, on its other side where the window ends there, and never outside.
  function place(box, near) {
    const { width, height } = box.getBoundingClientRect();
    const view = document.documentElement;
    const x = beside(near.left, near.right, width, view.clientWidth);
    const y = beside(near.top, near.bottom, height, view.clientHeight);
    box.style.left = `${x}px`;
    box.style.top = `${y}px`;
  }

  function beside(start, end, length, room) {
    if (end + GAP + length <= room) return end + GAP;
    if (start - GAP - length >= 0) return start - GAP - length;
    return Math.max(0, room - length - GAP);
  }

  // All that a view shows as a table: `items` are `{node, title, sums}`, `open(node)` is called for one that is clicked.
  function table(report, { total, paint }, items, open) {
    const { formatSize, formatPercent, formatCount } = MLB;
    const column = (title, format, of) => ({
      title,
      number: true,
      cell: ({ sums }) => format(of(sums)),
      rest: (others) => format(MLB.parts.sum(others, ({ sums }) => of(sums))),
    });
    const name = ({ node, title }) => MLB.element("button", { type: "button", class: "file", onclick: () => open(node) }, MLB.element("bdi", {}, title));
    const columns = [
      { title: "Name", path: true, cell: name },
      { title: "Type", cell: ({ node }) => (node.row < 0 ? "folder" : MLB.visible(report.kinds[report.kind[node.row]])) },
      column("Installed", formatSize, (sums) => sums.size),
      ...(report.packs ? [column("Compressed", formatSize, (sums) => sums.packed)] : []),
      ...(paint.columns ?? []).map((each) => column(...each)),
      column("Share of the map", (bytes) => formatPercent(bytes, total), (sums) => sums.weight),
      column("Files", formatCount, (sums) => sums.present),
    ];
    return MLB.parts.table({ caption: "What the map shows", hideCaption: true, columns, items, shown: ROWS });
  }

  return { facts, create, table };
})();
