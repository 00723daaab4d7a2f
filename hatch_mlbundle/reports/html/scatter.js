// A plot of size against error: a point for each trial of a search.
"use strict";

{
  const { element, formatSize } = MLB;
  const HEIGHT = 280;
  const MARGIN = { left: 76, right: 16, top: 20, bottom: 42 };
  // Of these 1 is as before; of other metrics only their own number is known.
  const LIKENESSES = new Set(["cosine", "top-1"]);

  // Draws the trials that have a value, with the bound that was to be kept, to a width in pixels.
  MLB.scatter = (trials, bound, width) => {
    const metric = trials[0].metric;
    const error = (value) => (LIKENESSES.has(metric) ? 1 - value : value);
    const points = trials.map((trial) => ({ trial, x: trial.size, y: error(trial.value) }));
    const limit = bound && (bound.metric === metric || bound.metric === null) ? error(bound.value) : null;
    const ys = [...points.map((point) => point.y), ...(limit === null ? [] : [limit])];
    const x = linear(
      [Math.min(...points.map((point) => point.x)), Math.max(...points.map((point) => point.x))],
      [MARGIN.left + 12, width - MARGIN.right - 12],
    );
    const y = vertical(ys);
    const label = LIKENESSES.has(metric) ? `1 - ${metric}` : metric;
    return element(
      "svg",
      {
        class: "scatter",
        viewBox: `0 0 ${width} ${HEIGHT}`,
        width,
        height: HEIGHT,
        role: "img",
        "aria-label": `Size against ${label}: ${points.length} trials, which the table lists`,
      },
      grid(x, y, width, label),
      limit === null ? null : boundLine(y(limit), width, bound),
      points.map((point) => mark(point, x(point.x), y(point.y))),
    );
  };

  // A scale from values to pixels, with room where all values are the same, and its ticks.
  function linear([low, high], [start, end]) {
    const room = high > low ? 0 : Math.abs(high) * 0.1 || 1;
    const [from, to] = [low - room, high + room];
    const scale = (value) => start + ((value - from) / (to - from)) * (end - start);
    scale.ticks = ticks(from, to, 5);
    return scale;
  }

  function ticks(from, to, wanted) {
    const rough = (to - from) / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * power).find((each) => each >= rough);
    const first = Math.ceil(from / step);
    return Array.from({ length: Math.max(0, Math.floor(to / step) - first + 1) }, (_, at) => (first + at) * step);
  }

  // Errors of several magnitudes are drawn by their logarithm.
  function vertical(values) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const place = [HEIGHT - MARGIN.bottom - 10, MARGIN.top + 10];
    if (!(low > 0 && high / low > 10)) return linear([low, high], place);
    const exponents = linear([Math.log10(low), Math.log10(high)], place);
    const scale = (value) => exponents(Math.log10(value));
    const [from, to] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
    scale.ticks = Array.from({ length: to - from + 1 }, (_, at) => 10 ** (from + at));
    return scale;
  }

  function grid(x, y, width, label) {
    const bottom = HEIGHT - MARGIN.bottom;
    const few = width < 480 ? x.ticks.filter((_, at) => at % 2 === 0) : x.ticks;
    return [
      y.ticks.map((tick) => [
        element("line", { class: "gridline", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(tick), y2: y(tick) }),
        element("text", { x: MARGIN.left - 8, y: y(tick) + 4, "text-anchor": "end" }, short(tick)),
      ]),
      few.map((tick) => element("text", { x: x(tick), y: bottom + 18, "text-anchor": "middle" }, formatSize(Math.round(tick)))),
      element("line", { class: "axis", x1: MARGIN.left, x2: width - MARGIN.right, y1: bottom, y2: bottom }),
      element("text", { class: "label", x: width - MARGIN.right, y: HEIGHT - 6, "text-anchor": "end" }, "size of the model"),
      element("text", { class: "label", x: 4, y: 12 }, `error (${label})`),
    ];
  }

  function short(number) {
    return String(Number(number.toPrecision(3)));
  }

  function boundLine(y, width, bound) {
    const text = element(
      "text",
      { class: "bound", x: width - MARGIN.right - 4, y: y - 6, "text-anchor": "end" },
      `bound: ${bound.key.replace("-", " ")} ${bound.value}`,
    );
    return [element("line", { class: "bound", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }), text];
  }

  // Within the bound a filled circle, else a cross; the one that was taken has a ring.
  function mark({ trial }, x, y) {
    const title = element("title", {}, `${MLB.visible(trial.setting)}: ${formatSize(trial.size)}, ${trial.metric} ${trial.value}`);
    if (!trial.keeps) return element("g", { class: "missed" }, title, element("path", { d: `M${x - 5} ${y - 5}l10 10m0 -10l-10 10` }));
    const ring = trial.taken
      ? [element("circle", { class: "ring", cx: x, cy: y, r: 9 }), element("text", { x: x + 14, y: y + 4 }, "taken")]
      : null;
    return element("g", { class: "kept" }, title, element("circle", { cx: x, cy: y, r: 5 }), ring);
  }
}
