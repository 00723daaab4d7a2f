// What stands around the map: choices, the way to the place that is shown, the legend.
"use strict";

MLB.mapcontrols = (() => {
  const { element, formatCount, visible } = MLB;

  // The choices of size and colour that the report has something for; `choose` takes a part of a view.
  function choices(report, view, choose) {
    const paints = Object.entries(MLB.paints.available(report));
    const sizes = [["", "Installed"], ["packed", "Compressed"]];
    const { choice } = MLB.parts;
    return [
      report.packs ? choice("Size", sizes, view.packed ? "packed" : "", (value) => choose({ packed: Boolean(value), from: 0 })) : null,
      paints.length > 1 ? choice("Colour", paints, view.paint, (paint) => choose({ paint, from: 0 })) : null,
    ].filter(Boolean);
  }

  // The nodes from the root to the one shown; what is shown has its size. `others` is their number where only the others are.
  function crumbs(nodes, others, told, zoom) {
    const items = nodes.map((node, at) => {
      const here = at === nodes.length - 1 && !others;
      return here ? place(visible(node.name), told) : element("li", {}, element("button", { type: "button", onclick: () => zoom(node) }, name(visible(node.name))));
    });
    return others ? [...items, place(`${formatCount(others)} others`, told)] : items;
  }

  function place(title, told) {
    return element("li", {}, element("span", { "aria-current": "page" }, name(title)), element("span", { class: "map-figure" }, told));
  }

  function name(title) {
    return element("bdi", {}, title);
  }

  // What the colours stand for, and how much of it there is in the whole; a press lights it alone.
  function legend(report, paint, chosen, press) {
    const [sums, files] = [new Float64Array(paint.legend.length), new Uint32Array(paint.legend.length)];
    for (let row = 0; row < report.count; row++) {
      if (!paint.present(row)) continue;
      files[paint.slot(row)]++;
      paint.split(row, (slot, bytes) => { sums[slot] += bytes; });
    }
    const shown = [...paint.legend.keys()].filter((slot) => files[slot]);
    const items = shown.map((slot) => entry(paint.legend[slot], paint.format(sums[slot]), slot === chosen, () => press(slot)));
    return [element("li", { class: "map-legend-title" }, paint.title), ...items];
  }

  function entry({ label, colour, pattern }, size, pressed, press) {
    const swatch = element("span", { class: `map-swatch${pattern ? ` ${pattern}` : ""}`, style: { background: colour } });
    const figure = element("span", { class: "map-figure" }, size);
    return element("li", {}, element("button", { type: "button", "aria-pressed": String(pressed), onclick: press }, swatch, visible(label), figure));
  }

  // What a search found in the whole, and how many of it are in the nodes that are shown: "128 files, 45.2 MB, 4.6 %; 3 of them here".
  function matches(numbers, shown) {
    const { root } = numbers.tree;
    const files = numbers.litCount([root]);
    if (!files) return "no file";
    const found = `${MLB.parts.counted(files, "file")}, ${numbers.tell(numbers.litSums())}`;
    const here = numbers.litCount(shown);
    return here === files ? found : `${found}; ${here ? formatCount(here) : "none"} of them here`;
  }

  return { choices, crumbs, legend, matches };
})();
