// What files are made of: sections of binaries, GPU code by architecture, tensors by type.
"use strict";

{
  const { element, formatSize, formatPercent } = MLB;
  const { panel, table, file, share, sum, counted } = MLB.parts;
  const VIEWS = {
    sections: ["Binaries by section", "Section"],
    gpu: ["GPU code by architecture", "Architecture"],
    tensors: ["Models by the type of their tensors", "Type"],
  };
  const HUES = 8;

  MLB.panels.insides = (report) => panel("insides", "Inside", report.insides.map(view));

  function view({ view, parts, files, others }) {
    const [title, heading] = VIEWS[view];
    const whole = sum(parts, ([, size]) => size);
    const hues = new Map(parts.map(([name], at) => [name, at]));
    const all = table({
      caption: `${title}, in ${counted(files.length + others.count, "file")}`,
      items: parts,
      shown: 12,
      columns: [
        { title: heading, cell: ([name]) => [swatch(hues.get(name)), MLB.visible(name)] },
        { title: "Bytes", number: true, cell: ([, size]) => formatSize(size), rest: (rest) => formatSize(sum(rest, ([, size]) => size)) },
        {
          title: "Share",
          number: true,
          cell: ([, size]) => share(size, whole),
          rest: (rest) =>
            share(
              sum(rest, ([, size]) => size),
              whole,
            ),
        },
      ],
      last: [["All", formatSize(whole), null]],
    });
    return element(
      "div",
      { class: "view" },
      element("h3", {}, title),
      strip(parts, hues),
      element("div", { class: "columns" }, all, largest(title, files, others, hues)),
    );
  }

  function largest(title, files, others, hues) {
    const size = (row) => sum(row.parts, ([, bytes]) => bytes);
    return table({
      caption: `${title}: the largest files`,
      items: files,
      shown: 10,
      unlisted: others.count,
      columns: [
        {
          title: "File",
          path: true,
          cell: (row) => [
            file(row.file),
            strip(row.parts, hues),
            element("details", {}, element("summary", {}, told(row)), parts(row, hues)),
          ],
        },
        { title: "Bytes", number: true, cell: (row) => formatSize(size(row)), rest: (rest) => formatSize(sum(rest, size) + others.size) },
      ],
    });
  }

  // The largest parts in words, for those who cannot tell the colours.
  function told(row) {
    const whole = sum(row.parts, ([, size]) => size);
    return row.parts
      .slice(0, 3)
      .map(([name, size]) => `${MLB.visible(name)} ${formatPercent(size, whole)}`)
      .join(", ");
  }

  function parts(row, hues) {
    return element(
      "ul",
      { class: "plain" },
      row.parts.map(([name, size]) => element("li", {}, swatch(hues.get(name)), `${MLB.visible(name)}: ${formatSize(size)}`)),
    );
  }

  // All parts side by side; a table beside it says the same.
  function strip(parts, hues) {
    const whole = sum(parts, ([, size]) => size);
    const svg = element("svg", { viewBox: "0 0 1000 10", preserveAspectRatio: "none", class: "strip", "aria-hidden": "true" });
    let x = 0;
    for (const [name, size] of parts) {
      const width = whole > 0 ? Math.max(0, (1000 * size) / whole) : 0;
      svg.append(element("rect", { class: hue(hues.get(name)), x, y: 0, width, height: 10 }));
      x += width;
    }
    return svg;
  }

  function swatch(at) {
    return element("span", { class: `swatch ${hue(at)}` });
  }

  function hue(at) {
    return at === undefined || at >= HUES ? "hue-other" : `hue-${at}`;
  }
}
