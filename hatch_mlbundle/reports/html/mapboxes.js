// The boxes of the map as elements: labels that fit, names for those who do not see them.
"use strict";

MLB.mapboxes = (() => {
  const LINE = 15; // pixels, as in map.css
  const CHARACTER = 7; // a wide font's, on average
  const MARGIN = 9;
  const LEAST = 5; // characters of a name that are worth showing
  const WIDE_LINES = 72;
  const SEPARATOR = /[/_.-](?=.)/g;
  const UPRIGHT = { width: 15, height: 64 };

  // The element of a box: `about` is {title, figure, fill, name}.
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
    }, open ? header(box, about) : labels(box, about));
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

  // The name, and the figure where the name is readable beside it.
  function header({ width }, { title, figure }) {
    const room = width - textWidth(figure) - MARGIN;
    return [label("map-name", title), room >= textWidth(title.slice(0, 14)) ? label("map-figure", figure) : null];
  }

  function labels({ width, height }, { title, figure }) {
    const lines = Math.floor((height - 4) / LINE);
    if (lines >= 1 && width >= textWidth(title.slice(0, LEAST))) return flat(width, lines, title, figure);
    return width >= UPRIGHT.width && height >= UPRIGHT.height ? [label("map-name upright", title)] : [];
  }

  // The name, over several lines where they make more of it readable, and the figure below it.
  function flat(width, lines, title, figure) {
    const told = lines >= 2 && width >= textWidth(figure);
    const most = breaks(title, width) ? Math.min(4, told ? lines - 1 : lines) : 1;
    const name = most > 1 ? label("map-name lines", title.replace(SEPARATOR, "$&\u200b")) : label("map-name", title);
    if (most > 1) name.style.setProperty("--lines", String(most));
    return [name, told ? label("map-figure", figure) : null];
  }

  // Whether a name that is too long for a line breaks well: after separators, or because it fills more than two lines.
  function breaks(title, width) {
    if (width < WIDE_LINES || textWidth(title) <= width) return false;
    const longest = Math.max(...title.split(SEPARATOR).map((part) => part.length + 1));
    return longest * CHARACTER + MARGIN <= width || textWidth(title) > 2 * width;
  }

  function textWidth(text) {
    return text.length * CHARACTER + MARGIN;
  }

  function label(name, text) {
    return MLB.element("span", { class: name }, text);
  }

  // Shows how much of a box is lit, from 0 to 1, null for nothing at all.
  function light(element, share) {
    element.classList.toggle("dim", share === null);
    element.classList.toggle("part", share !== null && share < 1);
    element.style.setProperty("--lit", share ? `${(100 * share).toFixed(1)}%` : "0%");
  }

  return { create, light };
})();
