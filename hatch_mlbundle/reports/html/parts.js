// What panels are made of: sections, tables, choices, and buttons that show a file in the map.
"use strict";

{
  const { element, formatCount } = MLB;

  // A section under a heading, null where it has nothing to say. `id` is what the page's contents link to.
  function panel(id, title, ...children) {
    const said = children.flat(Infinity).filter(Boolean);
    if (!said.length) return null;
    const heading = element("h2", { id: `${id}-title` }, title);
    return element("section", { id, class: "panel", "aria-labelledby": `${id}-title` }, heading, said);
  }

  // A table with a caption. A column is {title, number, cell(item), rest(items)}: `rest` is what its cell says of the items that are
  // not shown (beyond the first `shown`), which are one row until a button shows more of them, up to `most`. `unlisted` is how many more
  // there are than `items`: what they take, `rest` must know by itself. `last` are rows of cells that always follow.
  function table({ caption, columns, items, shown = Infinity, most = items.length, unlisted = 0, last = [], hideCaption = false }) {
    const body = element("tbody");
    const head = element("thead", {}, element("tr", {}, columns.map(headCell)));
    const title = element("caption", { class: hideCaption ? "unseen" : null }, caption);
    const whole = element("table", {}, title, head, body);
    const label = most === items.length + unlisted ? "Show all" : "Show the first";
    const more = element("button", { type: "button", class: "more", onclick: expand }, `${label} ${formatCount(most)}`);
    const wrapped = element("div", { class: "scroll" }, whole);
    keepReachable(wrapped, caption);

    function fill(count) {
      const rest = items.slice(count);
      const number = rest.length + unlisted;
      const others = columns.map((column, at) => (at === naming(columns) ? `[${formatCount(number)} others]` : column.rest?.(rest)));
      body.replaceChildren(
        ...items.slice(0, count).map((item) =>
          row(
            columns,
            columns.map((column) => column.cell(item)),
          ),
        ),
        ...(number ? [row(columns, others, "others")] : []),
        ...last.map((cells) => row(columns, cells, "total")),
      );
      more.hidden = count >= most;
    }

    function expand() {
      const before = body.rows.length - last.length - 1;
      fill(most);
      body.rows[before].tabIndex = -1; // the button that had the focus is gone
      body.rows[before].focus();
    }

    // A few items more than are to be shown are shown all the same: a row for them would save nothing.
    fill(most <= shown + 2 ? most : shown);
    return element("div", { class: "table" }, wrapped, more);
  }

  function naming(columns) {
    return columns.findIndex((column) => !column.number);
  }

  function headCell(column) {
    return element("th", { scope: "col", class: classes(column), "aria-sort": column.sort }, column.title);
  }

  function row(columns, cells, kind) {
    const name = naming(columns);
    const cell = (content, at) =>
      element(at === name ? "th" : "td", { scope: at === name ? "row" : null, class: classes(columns[at]) }, content);
    return element(
      "tr",
      { class: kind },
      columns.map((_, at) => cell(cells[at], at)),
    );
  }

  function classes(column) {
    return [column.number && "number", column.path && "path", column.class].filter(Boolean).join(" ") || null;
  }

  // Lets the keyboard scroll what is wider than the page.
  function keepReachable(node, label) {
    new ResizeObserver(() => {
      const wide = node.scrollWidth > node.clientWidth;
      for (const [name, value] of Object.entries({ tabindex: 0, role: "group", "aria-label": label })) {
        if (wide) node.setAttribute(name, value);
        else node.removeAttribute(name);
      }
    }).observe(node);
  }

  // A choice of one of a few: [[value, label], ...].
  function choice(legend, options, chosen, choose) {
    const name = `choice-${(choice.count = (choice.count ?? 0) + 1)}`;
    const radio = ([value, label]) =>
      element(
        "label",
        {},
        element("input", { type: "radio", name, value, checked: value === chosen, onchange: () => choose(value) }),
        element("span", {}, label),
      );
    return element("fieldset", { class: "choice" }, element("legend", { class: "unseen" }, legend), options.map(radio));
  }

  // A path, with its folder less prominent than its name; where it is that of a row, a button that shows the file in the map.
  function file(place) {
    const path = typeof place === "number" ? MLB.path(place) : place;
    const cut = path.lastIndexOf("/") + 1;
    const text = [element("span", { class: "folder" }, MLB.visible(path.slice(0, cut))), MLB.visible(path.slice(cut))];
    return typeof place === "number" ? shows({ row: place }, element("bdi", {}, text)) : element("bdi", { class: "file" }, text);
  }

  // A package's name; a button that shows it in the map, which may write it otherwise, as PEP 503 allows.
  function owner(name) {
    const normal = (written) => written.toLowerCase().replace(/[-_.]+/g, "-");
    const number = MLB.report.owners.findIndex((each) => normal(each) === normal(name));
    const text = element("bdi", {}, MLB.visible(name));
    return number < 0 ? text : shows({ owner: number }, text);
  }

  function shows(wanted, ...text) {
    return element("button", { type: "button", class: "file", title: "Show in the map", onclick: () => MLB.emit("show", wanted) }, text);
  }

  // A part of a whole in percent, over a bar as long; a cell's content.
  function share(part, whole, kind = "") {
    const width = whole > 0 ? Math.max(0, Math.min(100, (100 * part) / whole)) : 0;
    return element("span", { class: `share ${kind}`, style: { "--share": `${width}%` } }, MLB.formatPercent(part, whole));
  }

  // Bytes that came or went, coloured.
  function growth(size) {
    if (!size) return element("span", { class: "quiet" }, "0 B");
    return element("span", { class: size < 0 ? "good" : "bad" }, MLB.formatGrowth(size));
  }

  // Details whose inside is made when they are first opened.
  function details(summary, make) {
    const node = element("details", {}, element("summary", {}, summary));
    node.addEventListener("toggle", () => node.append(make()), { once: true });
    return node;
  }

  // Lines to be pasted somewhere, and a button that copies them; `label` and `what` tell of them to those who cannot see them.
  function pasted(lines, label, what) {
    const text = element("pre", { tabindex: 0, "aria-label": label }, MLB.visibleLines(lines));
    const told = element("span", { role: "status", class: "quiet" });
    const copied = async () => {
      told.textContent = (await copy(text)) ? "Copied" : "Select the lines and copy them";
    };
    const button = element("button", { type: "button", "aria-label": `Copy ${what}`, onclick: copied }, "Copy");
    return [text, element("p", { class: "copy" }, button, " ", told)];
  }

  // A sandboxed frame may not write to the clipboard itself, but may ask for what is selected to be copied.
  async function copy(node) {
    try {
      await navigator.clipboard.writeText(node.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(node);
      return document.execCommand("copy");
    }
  }

  function sum(items, of) {
    return items.reduce((total, item) => total + of(item), 0);
  }

  // "1 file", "2,000 files".
  function counted(count, one, many = `${one}s`) {
    return `${formatCount(count)} ${count === 1 ? one : many}`;
  }

  // Draws anew whenever the width changes that there is to draw in.
  function responsive(draw) {
    const node = element("div", { class: "drawing" });
    let drawn = 0;
    new ResizeObserver(() => {
      const width = Math.round(node.clientWidth);
      if (width && width !== drawn) node.replaceChildren(draw((drawn = width)));
    }).observe(node);
    return node;
  }

  MLB.parts = { panel, table, choice, file, owner, share, growth, details, pasted, sum, counted, responsive };
  MLB.panels = {};
}
