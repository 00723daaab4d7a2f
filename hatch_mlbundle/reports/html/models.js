// What was done to models: the size against the error of what was tried, and each tensor before and after.
"use strict";

{
  const { element, formatSize, formatPercent, formatCount } = MLB;
  const { panel, table, file, details, sum, counted, responsive } = MLB.parts;

  MLB.panels.models = (report) => {
    const { models, bound, others } = report.models;
    return panel(
      "models",
      "Models",
      models.map((model) => shown(model, bound)),
      others ? element("p", { class: "quiet" }, `[${counted(others, "other model")}]`) : null,
    );
  };

  function shown(model, bound) {
    const [first, ...more] = model.files;
    const sizes = model.size
      ? `${formatSize(model.size[0])} to ${formatSize(model.size[1])} (${formatPercent(model.size[1] - model.size[0], model.size[0])})`
      : "";
    return element(
      "article",
      { class: "model" },
      element("h3", {}, file(first), more.length ? ` and ${counted(more.length, "more file")}` : null),
      element("p", {}, [MLB.visible(model.step), MLB.visible(model.setting), sizes].filter(Boolean).join(", ")),
      model.search.length ? search(model, bound) : null,
      model.tensors.length
        ? details(`Tensors (${formatCount(model.tensors.length + model.otherTensors.count)})`, () => tensors(model))
        : null,
    );
  }

  function search(model, bound) {
    const measured = model.search.filter((trial) => typeof trial.value === "number");
    const plot = measured.length ? responsive((width) => MLB.scatter(measured, bound, width)) : null;
    return element("div", { class: "columns" }, plot, trials(model));
  }

  function trials(model) {
    const metric = model.search.find((trial) => trial.metric)?.metric ?? "accuracy";
    const worst = model.search.some((trial) => typeof trial.worst === "number");
    const verdict = (trial) => (trial.taken ? ["taken", "good"] : trial.keeps ? ["within", "quiet"] : ["missed", "bad"]);
    const columns = [
      { title: "Setting", cell: (trial) => MLB.visible(trial.setting) },
      { title: "Size", number: true, cell: (trial) => formatSize(trial.size) },
      { title: MLB.visible(metric), number: true, cell: (trial) => number(trial, "value") },
      worst ? { title: "Worst sample", number: true, cell: (trial) => number(trial, "worst") } : null,
      { title: "Bound", cell: (trial) => badge(trial.metric ? verdict(trial) : ["not measured", "quiet"]) },
    ];
    return table({ caption: "What was tried, the smallest first", items: model.search, columns: columns.filter(Boolean) });
  }

  function badge([text, kind]) {
    return element("span", { class: `badge ${kind}` }, text);
  }

  function number(trial, key) {
    const value = trial[key];
    if (typeof value === "number") return String(Number(value.toPrecision(6)));
    return trial.metric && key === "value" ? "not finite" : "-";
  }

  function tensors(model) {
    const { count, size } = model.otherTensors;
    const rest = (side) => (tensors) => formatSize(sum(tensors, (tensor) => tensor[4][side]) + size[side]);
    return table({
      caption: "Tensors, the largest first",
      hideCaption: true,
      items: model.tensors,
      shown: 20,
      unlisted: count,
      columns: [
        { title: "Tensor", path: true, cell: ([name]) => MLB.visible(String(name)) },
        { title: "Shape", cell: ([, shape]) => (shape ?? []).join(" × ") },
        { title: "Before", cell: ([, , before]) => MLB.visible(String(before ?? "")) },
        { title: "After", cell: ([, , , after]) => MLB.visible(String(after ?? "")) },
        { title: "Bytes before", number: true, cell: (tensor) => formatSize(tensor[4][0]), rest: rest(0) },
        { title: "Bytes after", number: true, cell: (tensor) => formatSize(tensor[4][1]), rest: rest(1) },
        { title: "SQNR", number: true, cell: (tensor) => (typeof tensor[5] === "number" ? `${MLB.fixed(tensor[5], 1)} dB` : "exact") },
      ],
      last: [["All", null, null, null, rest(0)(model.tensors), rest(1)(model.tensors), null]],
    });
  }
}
