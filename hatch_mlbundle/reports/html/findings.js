// What a person should know of: findings, what further steps would save, and that the totals add up.
"use strict";

{
  const { element, formatSize, formatCount } = MLB;
  const { panel, table, file, sum, counted, pasted } = MLB.parts;

  MLB.panels.findings = (report) => {
    if (!report.findings.length) return null;
    const columns = [
      { title: "Code", class: "short", cell: (finding) => element("code", {}, MLB.visible(finding.code)) },
      { title: "Finding", class: "prose", cell: (finding) => [MLB.visible(finding.message), place(finding)] },
      {
        title: "Size of the file",
        number: true,
        cell: (finding) => (there(report, finding.path) ? formatSize(report.size[finding.path]) : ""),
      },
    ];
    const note = element("p", { class: "quiet" }, "What each code means, and what to do, is in docs/findings.md of hatch-mlbundle.");
    return panel(
      "findings",
      "Findings",
      table({ caption: "Findings", hideCaption: true, items: report.findings, columns, shown: 30 }),
      note,
    );
  };

  function there(report, path) {
    return typeof path === "number" && report.size[path] >= 0;
  }

  function place(finding) {
    const by = finding.optimizer ? `${MLB.visible(finding.optimizer)}: ` : null;
    return finding.path === null && !by ? null : element("div", { class: "note" }, by, finding.path === null ? null : file(finding.path));
  }

  MLB.panels.suggestions = (report) => {
    if (!report.suggestions.length) return null;
    const note = element("p", { class: "quiet" }, "Each for itself: what two of them save may be the same bytes.");
    return panel("suggestions", "Could save", note, element("div", { class: "cards" }, report.suggestions.map(suggestion)));
  };

  function suggestion(row) {
    const [installed, compressed] = row.saved;
    const name = MLB.visible(row.optimizer);
    const sizes = [`${formatSize(installed)} installed`, ...(compressed === null ? [] : [`${formatSize(compressed)} compressed`])];
    const lossy = element("span", { class: `badge ${row.lossless ? "quiet" : "warn"}` }, row.lossless ? "lossless" : "lossy");
    return element(
      "article",
      { class: "card" },
      element("h3", {}, name, " ", lossy),
      element("p", {}, element("strong", {}, sizes.join(", ")), ` in ${counted(row.files, "file")}`),
      pasted(row.configuration, `Configuration that adds ${name}`, `the configuration of ${name}`),
    );
  }

  MLB.panels.footer = (report) =>
    element(
      "footer",
      { class: "bottom" },
      element("p", {}, `Made by ${MLB.visible(report.generator)}.`),
      element(
        "ul",
        {},
        sums(report).map(([text, holds]) => element("li", {}, holds ? "✓ " : "✗ does not add up: ", text)),
      ),
    );

  // Each sum that must hold, in words, and whether it does.
  function sums(report) {
    const { before, after } = report.totals;
    const there = (column) =>
      sum(
        Array.from(report[column]).filter((size) => size > 0),
        (size) => size,
      );
    const saved = (at) => sum(report.steps, (step) => step.saved[at] ?? 0) + (report.remainder[at] ?? 0);
    const told = [
      [
        `The sizes of ${counted(after.files, "file")} add up to ${formatCount(after.installed)} bytes installed.`,
        there("size") === after.installed,
      ],
    ];
    if (report.packs) {
      told.push([
        `Their compressed sizes and ${formatCount(after.structure)} bytes of no file (${report.structureLabel}) add up to ${formatCount(after.size)} bytes.`,
        there("packed") + after.structure === after.size,
      ]);
    }
    if (report.steps.length) {
      const compressed = !report.packs || saved(1) === before.size - after.size;
      told.push([
        `What the steps saved, and the writing of the artifact, add up to ${formatCount(saved(0))} bytes installed.`,
        saved(0) === before.installed - after.installed && compressed,
      ]);
    }
    return told;
  }
}
