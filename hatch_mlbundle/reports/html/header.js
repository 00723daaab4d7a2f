// The page's head: what it is about, the figures, the theme, and the budget.
"use strict";

{
  const { element, formatSize, formatPercent, formatCount } = MLB;
  const { panel, table, choice, share, counted } = MLB.parts;
  const KEY = "mlbundle-theme";

  MLB.panels.header = (report) =>
    element(
      "header",
      { class: "top" },
      element(
        "div",
        { class: "title" },
        element("p", { class: "quiet" }, `Size report: ${report.artifactKind}`),
        element("h1", {}, element("bdi", {}, MLB.visible(report.name))),
      ),
      theme(),
      headline(report),
      element("dl", { class: "figures" }, figures(report)),
    );

  // What a reader asks first: how it differs from the last release, else from before the steps.
  function headline(report) {
    const { before, after } = report.totals;
    if (report.baseline) return element("p", { class: "headline" }, against(report));
    if (before.installed === after.installed && before.size === after.size) return null;
    const saved = [[before.installed - after.installed, before.installed, "installed"]];
    if (report.packs) saved.push([before.size - after.size, before.size, "compressed"]);
    const told = saved.map(([part, whole, name]) => `${formatPercent(Math.abs(part), whole)} ${part < 0 ? "larger" : "smaller"} ${name}`);
    return element("p", { class: "headline" }, element("strong", {}, told.join(", ")), " than before the steps");
  }

  function against(report) {
    const { after } = report.totals;
    const { name, packs, totals } = report.baseline;
    const parts = [difference(after.installed, totals.installed), " installed"];
    if (packs && report.packs) parts.push(", ", difference(after.size, totals.size), " compressed");
    return [...parts, " against ", element("bdi", {}, MLB.visible(name))];
  }

  function difference(size, base) {
    const grown = size - base;
    return element(
      "strong",
      { class: grown > 0 ? "bad" : grown < 0 ? "good" : null },
      grown ? `${MLB.formatGrowth(grown)} (${change(size, base)})` : "the same size",
    );
  }

  function figures(report) {
    const { before, after } = report.totals;
    const figure = (title, value, note) =>
      element("div", {}, element("dt", {}, title), element("dd", {}, value), note ? element("dd", { class: "quiet" }, note) : null);
    const same = report.steps.length ? "as before the steps" : null;
    const was = (size, whole) => (size === whole ? same : `${formatSize(whole)} before the steps, ${change(size, whole)}`);
    const files = after.files === before.files ? same : `${formatCount(before.files)} before the steps`;
    return [
      figure("Installed", formatSize(after.installed), was(after.installed, before.installed)),
      report.packs ? figure("Compressed", formatSize(after.size), was(after.size, before.size)) : null,
      figure("Files", formatCount(after.files), files),
      report.budget.length ? figure("Budget", ...verdict(report.budget)) : null,
    ];
  }

  function change(size, whole) {
    if (!whole) return "new";
    const text = formatPercent(size - whole, whole);
    return size > whole ? `+${text}` : text;
  }

  function verdict(budget) {
    const over = budget.filter((limit) => limit.status === "over").length;
    const unmeasured = budget.filter((limit) => limit.status === "unmeasured").length;
    const limits = counted(budget.length, "limit") + (unmeasured ? `, ${formatCount(unmeasured)} not measured` : "");
    if (over) return [element("span", { class: "bad" }, "Over"), `${formatCount(over)} of ${limits}`];
    return unmeasured === budget.length ? ["Not measured", limits] : [element("span", { class: "good" }, "Kept"), limits];
  }

  function theme() {
    const root = document.documentElement;
    const set = (value) => {
      if (value === "auto") delete root.dataset.theme;
      else root.dataset.theme = value;
    };
    const remembered = recall() ?? "auto";
    set(remembered);
    return choice(
      "Theme",
      [
        ["auto", "Auto"],
        ["light", "Light"],
        ["dark", "Dark"],
      ],
      remembered,
      (value) => {
        set(value);
        remember(value);
      },
    );
  }

  // A sandboxed frame has no storage: asking for it throws.
  function recall() {
    try {
      const value = localStorage.getItem(KEY);
      return ["light", "dark"].includes(value) ? value : null;
    } catch {
      return null;
    }
  }

  function remember(value) {
    try {
      localStorage.setItem(KEY, value);
    } catch {
      // it is then forgotten with the page
    }
  }

  MLB.panels.budget = (report) => (report.budget.length ? panel("budget", "Budget", limits(report.budget)) : null);

  const STATUS = { ok: ["kept", "good"], over: ["over", "bad"], overridden: ["overridden", "warn"], unmeasured: ["not measured", "quiet"] };

  function limits(budget) {
    return table({
      caption: "Each limit, what it allows, and what there is",
      hideCaption: true,
      items: budget,
      columns: [
        {
          title: "Limit",
          cell: (limit) => [
            MLB.visible(limit.limit),
            limit.key === limit.limit ? null : element("span", { class: "note" }, MLB.visible(limit.key)),
          ],
        },
        {
          title: "Status",
          class: "short",
          cell: (limit) => element("span", { class: `badge ${STATUS[limit.status][1]}` }, STATUS[limit.status][0]),
        },
        { title: "Allowed", number: true, cell: (limit) => amount(limit.allowed, limit.unit) },
        { title: "Actual", number: true, cell: (limit) => amount(limit.actual, limit.unit) },
        {
          title: "Used",
          number: true,
          cell: (limit) => (limit.actual === null || limit.allowed <= 0 ? "" : share(limit.actual, limit.allowed, limit.status)),
        },
        { title: "Note", class: "prose", cell: (limit) => note(limit) },
      ],
    });
  }

  // The reason that was written for an override, and what counts most.
  function note(limit) {
    const most = limit.up_to ?? null; // a manifest does not keep it
    const override = limit.reason ? `Override${most === null ? "" : ` up to ${amount(most, limit.unit)}`}: ${limit.reason}` : "";
    return [override, limit.note].filter(Boolean).map((text) => element("div", {}, MLB.visible(text)));
  }

  function amount(value, unit) {
    if (value === null) return "-";
    if (unit === "bytes") return formatSize(value);
    if (unit === "percent") return `${MLB.fixed(value, 1)} %`;
    return unit === "seconds" ? `${MLB.fixed(value, 2)} s` : formatCount(value);
  }
}
