// The layers of a container image: what each brings, and what later ones hide of it but is shipped all the same.
"use strict";

{
  const { formatSize } = MLB;
  const { panel, table, sum } = MLB.parts;
  const SHOWN = 15;

  MLB.panels.layers = (report) => {
    if (!report.layers.length) return null;
    const size = (title, key) => ({
      title,
      number: true,
      cell: (layer) => formatSize(layer[key]),
      rest: (rest) => formatSize(sum(rest, (layer) => layer[key])),
    });
    const columns = [
      { title: "Made by", path: true, cell: (layer) => MLB.visible(layer.madeBy) },
      { title: "Layer", number: true, cell: (layer) => `${layer.number}` },
      size("Installed", "installed"),
      size("Hidden", "hidden"),
      size("Stored", "stored"),
    ];
    const whole = ["installed", "hidden", "stored"].map((key) => formatSize(sum(report.layers, (layer) => layer[key])));
    const caption = "Bytes that each layer brings, the largest as stored first; what later layers hide is shipped all the same";
    const items = [...report.layers].sort((a, b) => b.stored - a.stored || a.number - b.number);
    return panel("layers", "Layers", table({ caption, columns, items, shown: SHOWN, last: [["All", null, ...whole]] }));
  };
}
