// GPU code by library and architecture, and what native libraries could lose: to a strip, and to a choice of GPUs.
"use strict";

{
  const { element, formatSize } = MLB;
  const { panel, table, choice, file, sum } = MLB.parts;
  const SHOWN = 10;
  const bytes = (size) => (size ? formatSize(size) : "");

  MLB.panels.libraries = (report) => panel("libraries", "Libraries", gpuCode(report.gpuCode), losses(report));

  function gpuCode({ heads, rows }) {
    if (!rows.length) return null;
    const columns = heads.map((title, at) => ({
      title,
      number: true,
      cell: (row) => bytes(row[at + 1]),
      rest: (rest) => bytes(sum(rest, (row) => row[at + 1])),
    }));
    return table({
      caption: "GPU code by library and architecture",
      items: rows,
      shown: SHOWN,
      columns: [{ title: "Library", path: true, cell: ([place]) => file(place) }, ...columns],
      last: [["All", ...heads.map((_, at) => bytes(sum(rows, (row) => row[at + 1])))]],
    });
  }

  function losses(report) {
    if (!report.removable.length) return null;
    const place = element("div", {});
    const draw = (at) => place.replaceChildren(lossTable(report, Number(at)));
    draw(report.mostCode);
    const options = report.choices.map((label, at) => [String(at), label]);
    const chooser = options.length > 1 ? choice("GPUs whose code stays, by compute capability", options, String(report.mostCode), draw) : null;
    return [chooser ? element("div", {}, "GPU code stays for compute capability ", chooser) : null, place];
  }

  function lossTable(report, at) {
    const { strip, saves, both } = MLB.libraries;
    const isFree = (row) => row.licence || !saves(row, at);
    // Title, bytes of a row, and of a row without GPU code that goes only where its library is named.
    const figures = [
      ["Strip", strip, strip],
      ["GPU code", (row) => saves(row, at), (row) => (isFree(row) ? saves(row, at) : 0)],
      ["Both", (row) => both(row, at), (row) => (isFree(row) ? both(row, at) : strip(row))],
    ].slice(0, report.choices.length ? 3 : 1);
    const licences = report.choices.length ? [""] : [];
    const sums = (label, which) => [label, ...licences, ...figures.map((figure) => bytes(sum(report.removable, figure[which])))];
    const column = ([title, of]) => ({ title, number: true, cell: (row) => bytes(of(row)), rest: (rest) => bytes(sum(rest, of)) });
    const gone = report.choices.length ? `, all GPU code but for ${report.choices[at]}, both` : "";
    return table({
      caption: `What libraries could lose, in bytes of the files: symbols and debug data (strip)${gone}`,
      items: report.removable,
      shown: SHOWN,
      columns: [
        { title: "Library", path: true, cell: (row) => [file(row.file), ...notes(row)] },
        ...(report.choices.length ? [{ title: "Licence", class: "minor", cell: licence, rest: () => "" }] : []),
        ...figures.map(column),
      ],
      last: [sums("All", 1), ...(report.removable.every(isFree) ? [] : [sums("Without any named in libraries of gpu_code", 2)])],
    });
  }

  // What allows to distribute a library without some of its GPU code: otherwise it has to be named.
  function licence(row) {
    if (!row.keeping.length) return "";
    return row.licence ? MLB.visible(row.licence) : element("span", { class: "quiet" }, "to be named");
  }

  function notes(row) {
    return row.refusals.map((refusal) => element("span", { class: "note" }, `stays: ${MLB.visible(refusal)}`));
  }

  // What a library could lose, in bytes: to a strip, to the choice of GPU code `at`, to both.
  MLB.libraries = {
    strip: (row) => row.strip?.[3] ?? 0,
    saves: (row, at) => row.keeping[at]?.[1] ?? 0,
    both: (row, at) => row.keeping[at]?.[2] ?? MLB.libraries.strip(row),
    // Pairs of term and text about the file of this row of the report.
    facts(report, row) {
      const found = report.removable.find((each) => each.file === row);
      if (!found) return [];
      const at = report.mostCode;
      const pairs = [["Could lose", MLB.libraries.strip(found), "symbols, debug data"]];
      if (found.keeping.length) pairs.push(["Could lose", MLB.libraries.saves(found, at), `GPU code but for ${report.choices[at]}`]);
      return pairs.filter(([, size]) => size).map(([term, size, what]) => [term, `${formatSize(size)}: ${what}`]);
    },
  };
}
