// What area and colour of the map's boxes mean: three paints, by kind, by what the steps saved, by change against a baseline.
"use strict";

MLB.paints = (() => {
  // Kinds that do the same work share a colour; those not named here are grey.
  const FAMILIES = [
    ["elf", "pe", "mach-o"],
    ["model"],
    ["python"],
    ["bytecode"],
    ["static-library", "frozen"],
    ["archive", "image"],
    ["data"],
    ["source", "header", "type-stub", "build"],
  ];
  const STEP_COLOURS = [1, 5, 6, 3, 2, 0, 7];
  const CHANGES = [
    { label: "added", colour: "var(--map-more-3)", pattern: "added" },
    { label: "grew by half or more", colour: "var(--map-more-3)" },
    { label: "grew by a tenth or more", colour: "var(--map-more-2)" },
    { label: "grew", colour: "var(--map-more-1)" },
    { label: "unchanged", colour: "var(--map-plain)" },
    { label: "shrank", colour: "var(--map-less-1)" },
    { label: "shrank by a tenth or more", colour: "var(--map-less-2)" },
    { label: "shrank by half or more", colour: "var(--map-less-3)" },
    { label: "removed", colour: "var(--map-less-3)", pattern: "removed" },
  ];
  const UNCHANGED = 4;

  // The paints that a report has something for, by name.
  function available(report) {
    return {
      kind: "Kind",
      ...(report.steps.length ? { step: "Saved by step" } : {}),
      ...(report.baseline ? { change: "Change" } : {}),
    };
  }

  // The paint to begin with: what a reader asks first is what changed, where there is something to hold against.
  function first(report) {
    return report.baseline ? "change" : "kind";
  }

  // A paint for sizes installed or compressed:
  // `weight(row)` is a file's area, `present(row)` whether it is there to be counted, `slot(row)` its place in `legend`,
  // `split(row, add)` what it brings to which places of the legend, `fill(rows, sums)` a box's background and pattern,
  // `figure(sums)` its second line, `tell(sums, total)` its sizes in words, `format` how sums of the legend are written,
  // `columns` what a table says beyond sizes: title, how it is written, and of which sums.
  function create(name, report, packed) {
    const columns = packed
      ? { now: report.packed, was: report.wasPacked, base: report.basePacked }
      : { now: report.size, was: report.was, base: report.base };
    return { kind: byKind, step: byStep, change: byChange }[name](report, columns);
  }

  function size(column, row) {
    return Math.max(column[row], 0);
  }

  function byKind(report, { now }) {
    const families = report.kinds.map((kind) => FAMILIES.findIndex((family) => family.includes(kind)));
    const slots = families.map((family) => (family < 0 ? FAMILIES.length : family));
    const legend = [...FAMILIES, []].map((_, slot) => ({
      label: report.kinds.filter((_kind, at) => slots[at] === slot).join(", "),
      colour: slot < FAMILIES.length ? `var(--map-colour-${slot})` : "var(--map-grey)",
    }));
    const split = (row, add) => add(slots[report.kind[row]], size(now, row));
    return {
      title: "Kind",
      legend,
      split,
      weight: (row) => size(now, row),
      present: (row) => now[row] >= 0,
      slot: (row) => slots[report.kind[row]],
      fill: (rows) => ({ background: striped(legend, rows, split) }),
      figure: ({ weight }) => MLB.formatSize(weight),
      tell: ({ weight }, total) => `${MLB.formatSize(weight)}, ${MLB.formatPercent(weight, total)}`,
      format: MLB.formatSize,
    };
  }

  function byStep(report, { now, was }) {
    const kept = report.steps.length;
    const saved = (row) => (report.step[row] < 0 ? 0 : Math.max(0, size(was, row) - size(now, row)));
    const legend = stepLegend(report, saved);
    const split = (row, add) => {
      if (saved(row)) add(report.step[row], saved(row));
      add(kept, size(was, row) - saved(row));
    };
    return {
      title: "Saved, by the step that saved most of a file",
      legend,
      split,
      weight: (row) => size(was, row),
      present: (row) => was[row] >= 0,
      slot: (row) => (saved(row) > 0 ? report.step[row] : kept),
      fill: (rows, sums) => ({ background: striped(legend, rows, split), pattern: sums.now ? "" : "dropped" }),
      figure: (sums) => (sums.now === sums.was ? MLB.formatSize(sums.weight) : MLB.formatGrowth(sums.now - sums.was)),
      tell: ({ weight, now }, total) => {
        const share = `${MLB.formatSize(weight)} before the steps, ${MLB.formatPercent(weight, total)}`;
        return now === weight ? share : `${share}, ${now ? MLB.formatGrowth(now - weight) : "dropped"}`;
      },
      columns: [
        ["Before the steps", MLB.formatSize, (sums) => sums.was],
        ["By the steps", MLB.formatGrowth, (sums) => sums.now - sums.was],
      ],
      format: MLB.formatSize,
    };
  }

  // The steps in their order; those that saved most have the colours that differ most, and what is left is one more.
  function stepLegend(report, saved) {
    const sums = new Float64Array(report.steps.length);
    for (let row = 0; row < report.count; row++) if (report.step[row] >= 0) sums[report.step[row]] += saved(row);
    const order = [...sums.keys()].sort((one, other) => sums[other] - sums[one]);
    const legend = report.steps.map(({ name, lossless }, step) => {
      const colour = STEP_COLOURS[order.indexOf(step)];
      return { label: lossless ? name : `${name} (lossy)`, colour: colour === undefined ? "var(--map-grey)" : `var(--map-colour-${colour})` };
    });
    return [...legend, { label: "kept", colour: "var(--map-plain)" }];
  }

  function byChange(report, { now, base }) {
    const slot = (row) => changeOf(now[row], base[row]);
    return {
      title: `Change since ${MLB.visible(report.baseline.name)}`,
      legend: CHANGES,
      split: (row, add) => add(slot(row), size(now, row) - size(base, row)),
      weight: (row) => Math.max(size(now, row), size(base, row)),
      present: (row) => now[row] >= 0 || base[row] >= 0,
      slot,
      fill: (_rows, sums) => {
        const { colour, pattern } = CHANGES[changeOf(sums.files ? sums.now : -1, sums.baseFiles ? sums.old : -1)];
        return { background: colour, pattern };
      },
      figure: changeFigure,
      tell: ({ now, old, files, baseFiles }) => {
        if (!files) return `${MLB.formatSize(old)}, removed`;
        if (!baseFiles) return `${MLB.formatSize(now)}, added`;
        return `${MLB.formatSize(now)}, ${now === old ? "unchanged" : `${MLB.formatGrowth(now - old)} since the baseline`}`;
      },
      columns: [
        ["Baseline", MLB.formatSize, (sums) => sums.old],
        ["Change", MLB.formatGrowth, (sums) => sums.now - sums.old],
      ],
      format: MLB.formatGrowth,
    };
  }

  // The place in CHANGES of a size now beside one in the baseline, -1 where it is not there.
  function changeOf(now, base) {
    if (base < 0) return now < 0 ? UNCHANGED : 0;
    if (now < 0) return CHANGES.length - 1;
    if (now === base) return UNCHANGED;
    const share = base ? Math.abs(now - base) / base : 1;
    const strength = share >= 0.5 ? 3 : share >= 0.1 ? 2 : 1;
    return now > base ? UNCHANGED - strength : UNCHANGED + strength;
  }

  function changeFigure({ weight, now, old, files, baseFiles }) {
    if (!baseFiles && files) return `added ${MLB.formatGrowth(now)}`;
    if (!files && baseFiles) return `removed ${MLB.formatGrowth(-old)}`;
    if (now === old) return MLB.formatSize(weight);
    return `${now > old ? "\u25b2" : "\u25bc"} ${MLB.formatGrowth(now - old)}`;
  }

  // A background of vertical stripes, each as wide as its share, the widest first; those below a twentieth join the widest.
  function striped(legend, rows, split) {
    const sums = new Float64Array(legend.length);
    rows((row) => split(row, (slot, bytes) => { sums[slot] += bytes; }));
    const total = sums.reduce((sum, bytes) => sum + bytes, 0);
    const order = [...sums.keys()].sort((one, other) => sums[other] - sums[one]);
    const shown = order.filter((slot) => sums[slot] > total / 20);
    if (shown.length < 2) return shown.length ? legend[shown[0]].colour : "var(--map-plain)";
    const whole = shown.reduce((sum, slot) => sum + sums[slot], 0);
    let at = 0;
    const stops = shown.map((slot) => {
      const start = at;
      at += (100 * sums[slot]) / whole;
      return `${legend[slot].colour} ${start.toFixed(1)}% ${at.toFixed(1)}%`;
    });
    return `linear-gradient(to right, ${stops.join(", ")})`;
  }

  return { available, first, create };
})();
