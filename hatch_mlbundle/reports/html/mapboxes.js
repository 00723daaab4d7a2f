// The boxes of the map as elements: labels that fit, names for those who do not see them.
"use strict";

MLB.mapboxes = (() => {
  const LINE = 15;
  const LABEL = { width: 34, height: 20 };
  const UPRIGHT = { width: 16, height: 64 };
  const WIDE_FIGURE = 46;

  // The element of a box: `about` is {title, sums, fill, figure, name, dim}.
  function create(box, area, about) {
    const open = box.boxes.length > 0;
    const pattern = about.fill.pattern ? ` ${about.fill.pattern}` : "";
    const element = MLB.element("div", {
      class: `map-box ${open ? `map-group level-${box.level}` : `map-leaf${pattern}`}`,
      role: "treeitem",
      tabindex: -1,
      "aria-label": about.name,
      "aria-level": box.level,
      "aria-posinset": box.position,
      "aria-setsize": box.siblings,
      "aria-expanded": box.node && box.node.row < 0 ? String(open) : null,
    }, labels(box, about, open));
    Object.assign(element.style, place(box, area));
    if (!open) element.style.background = about.fill.background;
    return element;
  }

  // In parts of the whole, so that the map keeps its shape on paper and while the window changes.
  function place({ x, y, width, height }, area) {
    const percent = (length, whole) => `${((100 * length) / whole).toFixed(4)}%`;
    return {
      left: percent(x, area.width),
      top: percent(y, area.height),
      width: percent(width, area.width),
      height: percent(height, area.height),
    };
  }

  function labels({ width, height }, { title, figure }, open) {
    if (open) return [label("map-name", title), width > 120 ? label("map-figure", figure) : null];
    if (width >= LABEL.width && height >= LABEL.height) return flat(width, height, title, figure);
    const upright = width >= UPRIGHT.width && height >= UPRIGHT.height;
    return upright ? [label("map-name upright", title)] : [];
  }

  // The name over as many lines as there is room for, the figure below it.
  function flat(width, height, title, figure) {
    const lines = Math.floor((height - 6) / LINE);
    const told = lines >= 2 && width >= WIDE_FIGURE;
    const name = label("map-name", title);
    name.style.setProperty("--lines", String(Math.max(1, Math.min(4, told ? lines - 1 : lines))));
    return [name, told ? label("map-figure", figure) : null];
  }

  function label(name, text) {
    return MLB.element("span", { class: name }, text);
  }

  return { create };
})();
