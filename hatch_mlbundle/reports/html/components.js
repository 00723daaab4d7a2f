// What a container image is made of, as a person would name it, and what could be done about it.
"use strict";

{
  const { element, formatSize, formatCount, formatPercent } = MLB;
  const { panel, table, details, pasted, share, sum } = MLB.parts;
  const SHOWN = 20;

  const size = (title, key) => ({
    title,
    number: true,
    cell: (row) => formatSize(row[key]),
    rest: (rest) => formatSize(sum(rest, (row) => row[key])),
  });
  const files = {
    title: "Files",
    number: true,
    class: "minor",
    cell: (row) => formatCount(row.files),
    rest: (rest) => formatCount(sum(rest, (row) => row.files)),
  };

  MLB.panels.components = (report) => {
    if (!report.components.length) return null;
    const { after } = report.totals;
    const all = (parts) => [
      [`(${report.structureLabel})`, ...parts, null, formatSize(after.structure), null],
      ["All", ...parts, formatSize(after.installed), formatSize(after.size), formatCount(after.files)],
    ];
    const kinds = table({
      caption: "By kind, in bytes that a container sees and as they are stored",
      items: report.componentKinds,
      columns: [
        { title: "Kind", cell: (row) => `${row.label} (${formatCount(row.count)})` },
        { title: "Share", number: true, cell: (row) => share(row.installed, after.installed) },
        size("Installed", "installed"),
        size("Compressed", "compressed"),
        files,
      ],
      last: all([null]),
    });
    const each = table({
      caption: "The largest first",
      items: report.components,
      columns: [
        { title: "Component", class: "prose", cell: named },
        { title: "Kind", class: "minor", cell: (row) => row.label },
        size("Installed", "installed"),
        size("Compressed", "compressed"),
        files,
      ],
      shown: SHOWN,
      last: all([null]),
    });
    return panel("components", "Components", kinds, each);
  };

  function named(row) {
    const version = row.version ? [" ", element("span", { class: "quiet" }, MLB.visible(row.version))] : null;
    const layers = row.layers.length ? `layer${row.layers.length > 1 ? "s" : ""} ${row.layers.join(", ")}` : "";
    const note = [MLB.visibleLines(row.detail), layers].filter(Boolean).join("; ");
    return [element("bdi", {}, MLB.visible(row.name)), version, note ? element("span", { class: "note" }, note) : null];
  }

  MLB.panels.advice = (report) => {
    if (!report.advice.length) return null;
    const { now, all } = report.adviceSizes;
    const less = (saved) => ({ unpacked: now.unpacked - saved[0], stored: now.stored - (saved[1] ?? 0) });
    const row = (name, sizes) => ({ name, ...sizes });
    const items = [
      row("Now, with what layers hide", now),
      ...report.advice.map((option, at) => row(`${at + 1}: ${MLB.visibleLines(option.title)}`, less(option.saved))),
    ];
    const change = (sizes) => (sizes.stored === now.stored ? "" : formatPercent(sizes.stored - now.stored, now.stored));
    const sizes = table({
      caption: "The image now, with each option by itself, and with all: bytes that several of them save count once",
      items,
      columns: [
        { title: "What could be done", cell: (item) => item.name },
        { title: "Unpacked", number: true, cell: (item) => formatSize(item.unpacked) },
        { title: "Compressed", number: true, cell: (item) => formatSize(item.stored) },
        { title: "", number: true, cell: change },
      ],
      last: [["All of these", formatSize(all.unpacked), formatSize(all.stored), change(all)]],
    });
    const cards = report.advice.map((option, at) => card(option, at));
    return panel("advice", "What could be done", sizes, element("div", { class: "options" }, cards));
  };

  // A sentence, with what stands between backticks as code.
  function prose(sentence) {
    return MLB.visibleLines(sentence)
      .split("`")
      .map((part, at) => (at % 2 ? element("code", {}, part) : part));
  }

  function card(option, at) {
    const title = [`${at + 1}: `, element("strong", {}, MLB.visibleLines(option.title)), " ", element("span", { class: "quiet" }, option.told)];
    const points = (kind, label, sentences) =>
      sentences.map((sentence) => element("li", {}, element("span", { class: kind }, label), " ", prose(sentence)));
    const open = () =>
      element(
        "div",
        { class: "option" },
        element("ul", { class: "plain" }, points("good", "for:", option.pros), points("warn", "against:", option.cons)),
        option.edits.map(([where, text]) => [
          element("p", {}, element("code", {}, MLB.visible(where))),
          pasted(text, `Lines for ${MLB.visible(where)}`, `the lines for ${MLB.visible(where)}`),
        ]),
      );
    return details(title, open);
  }
}
