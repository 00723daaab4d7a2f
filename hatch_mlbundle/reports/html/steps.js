// What each step saved, from before to after, and how all was made: options, tools, configuration, and what lies beside the artifact.
"use strict";

{
  const { element, formatSize, formatCount } = MLB;
  const { panel, table, choice, details, growth } = MLB.parts;
  const MEASURES = { installed: 0, compressed: 1 };
  const REMAINDERS = new Map([
    ["wheel", "RECORD, zip headers"],
    ["frozen", "archive headers"],
  ]);

  MLB.panels.waterfall = (report) => {
    if (!report.steps.length) return null;
    const place = element("div", {});
    const draw = (measure) => place.replaceChildren(waterfall(report, measure));
    draw("installed");
    const measures = [
      ["installed", "Installed"],
      ["compressed", "Compressed"],
    ];
    return panel("waterfall", "Saved by the steps", report.packs ? choice("Size", measures, "installed", draw) : null, place);
  };

  // A row a step, with a bar from what there was to what it left; the first and last bars begin at nothing.
  function waterfall(report, measure) {
    const rows = stages(report, measure);
    const whole = Math.max(...rows.flatMap((row) => [row.from, row.to]));
    return table({
      caption: `Bytes ${measure}, from before the steps to after them`,
      items: rows,
      columns: [
        {
          title: "Step",
          cell: (row) => [MLB.visible(row.name), " ", row.lossy ? element("span", { class: "badge warn" }, "lossy") : null],
        },
        { title: element("span", { class: "unseen" }, "Bar"), class: "bars", cell: (row) => bar(row, whole) },
        { title: "Change", number: true, cell: (row) => (row.total ? "" : growth(row.to - row.from)) },
        { title: "Left", number: true, cell: (row) => formatSize(row.to) },
        { title: "Files", number: true, cell: (row) => (row.files ? formatCount(row.files) : "") },
      ],
    });
  }

  function stages(report, measure) {
    const saved = (pair) => pair[MEASURES[measure]] ?? 0;
    const size = (totals) => (measure === "installed" ? totals.installed : totals.size);
    const rows = [{ name: "before", from: 0, to: size(report.totals.before), files: report.totals.before.files, total: true }];
    const next = (row, pair) => {
      const from = rows[rows.length - 1].to;
      rows.push({ ...row, from, to: from - saved(pair) });
    };
    for (const step of report.steps) next({ name: step.name, files: step.files, lossy: !step.lossless }, step.saved);
    if (saved(report.remainder)) next({ name: REMAINDERS.get(report.artifactKind) ?? "other" }, report.remainder);
    rows.push({ name: "after", from: 0, to: size(report.totals.after), files: report.totals.after.files, total: true });
    return rows;
  }

  function bar(row, whole) {
    const [from, to] = [row.from, row.to].map((size) => (whole ? (1000 * size) / whole : 0));
    const kind = row.total ? "whole" : row.to > row.from ? "grown" : "saved";
    const width = Math.max(row.from === row.to ? 0 : 3, Math.abs(to - from));
    const svg = element("svg", { viewBox: "0 0 1000 20", preserveAspectRatio: "none", "aria-hidden": "true", class: "bar" });
    svg.append(element("rect", { class: kind, x: Math.min(from, to, 1000 - width), y: 2, width, height: 16 }));
    if (!row.total) svg.append(element("line", { class: "level", x1: to, x2: to, y1: 0, y2: 20 }));
    return svg;
  }

  MLB.panels.making = (report) => {
    const steps = report.steps.map((step) => details(summary(step), () => inside(step)));
    const tools = report.tools.length ? details("Tools that decide the result", () => list(report.tools)) : null;
    const settings = report.configuration
      ? details("Configuration", () => element("pre", { tabindex: 0 }, MLB.visibleLines(report.configuration)))
      : null;
    return panel("making", "How it was made", steps, tools, settings, beside(report));
  };

  function summary(step) {
    const kind = element("span", { class: `badge ${step.lossless ? "quiet" : "warn"}` }, step.lossless ? "lossless" : "lossy");
    return [
      "Step ",
      element("strong", {}, MLB.visible(step.name)),
      " ",
      kind,
      element("span", { class: "quiet" }, ` ${MLB.visible(step.distribution)} ${MLB.visible(step.version)}`),
    ];
  }

  function inside(step) {
    const changes = Object.entries(step.changes).map(([action, count]) => `${action}: ${formatCount(count)}`);
    return element(
      "div",
      {},
      changes.length ? element("p", {}, `Files: ${changes.join(", ")}`) : null,
      step.options ? element("pre", { tabindex: 0 }, MLB.visibleLines(step.options)) : null,
    );
  }

  function list(pairs) {
    return element(
      "ul",
      {},
      pairs.map(([name, version]) => element("li", {}, `${MLB.visible(name)} ${MLB.visible(version)}`)),
    );
  }

  function beside(report) {
    const hash = { title: "SHA-256", path: true, cell: (row) => element("code", {}, row[row.length - 1]) };
    const size = (at) => ({ title: "Size", number: true, cell: (row) => formatSize(row[at]) });
    const archives = [
      { title: "Archive", path: true, cell: ([name]) => MLB.visible(name) },
      { title: "Format", cell: ([, format]) => MLB.visible(format) },
      size(2),
      hash,
    ];
    const companions = [{ title: "File", path: true, cell: ([path]) => MLB.visible(path) }, size(1), hash];
    return [
      report.archives.length ? table({ caption: "Packed into", items: report.archives, columns: archives }) : null,
      report.companions.length
        ? table({ caption: "Files beside the artifact", items: report.companions, columns: companions, shown: 20 })
        : null,
    ];
  }
}
