// The map: what it shows, and how a person moves in it.
"use strict";

{
  const { element, formatCount, formatPercent, formatSize, visible } = MLB;
  const { build, chain, find, names, runningSums } = MLB.hierarchy;
  const SIDES = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };
  const TYPING = 120;
  const ZOOM = { duration: 200, easing: "cubic-bezier(0.2, 0, 0, 1)" };
  const HELP = "Arrow keys move between boxes, Enter zooms in, Escape zooms out, Home shows everything, slash searches.";

  // Puts the map of MLB.report into a container of the page.
  MLB.mountMap = (container) => new TreeMap(MLB.report, container).start();

  class TreeMap {
    constructor(report, container) {
      this.report = report;
      this.container = container;
      this.tree = build(report);
      this.finder = MLB.finder.create(report);
      this.ranks = new Map();
      this.drawn = { boxes: [], elements: new Map(), area: { width: 0, height: 0 } };
      this.view = { node: this.tree.root, from: 0, packed: false, paint: "kind", find: "" };
      this.slot = -1; // the place of the legend that alone is lit
      this.current = null; // the node whose box takes the focus
      this.sumColumns();
    }

    start() {
      this.makeParts();
      this.listen();
      this.apply(MLB.mapaddress.read(location.hash) ?? {}, { write: false });
    }

    // ---- numbers -----------------------------------------------------------------------------------------------------

    sumColumns() {
      const { size, packed, was, wasPacked, base, basePacked } = this.report;
      const columns = { size, packed, before: was, packedBefore: wasPacked, oldBase: base, oldBasePacked: basePacked };
      this.running = {};
      for (const [key, column] of Object.entries(columns)) this.running[key] = runningSums(this.tree, (row) => Math.max(column[row], 0));
      this.running.files = runningSums(this.tree, (row) => Number(size[row] >= 0));
      this.running.baseFiles = runningSums(this.tree, (row) => Number(base[row] >= 0));
    }

    // The sums of all columns over some nodes; `now`, `was` and `base` are those of the size that is chosen.
    sums(nodes) {
      const sums = {};
      for (const [key, running] of Object.entries(this.running)) sums[key] = nodes.reduce((sum, node) => sum + running[node.last] - running[node.first], 0);
      const { packed } = this;
      return Object.assign(sums, {
        now: packed ? sums.packed : sums.size,
        was: packed ? sums.packedBefore : sums.before,
        base: packed ? sums.oldBasePacked : sums.oldBase,
      });
    }

    weight(node) {
      return this.running.weight[node.last] - this.running.weight[node.first];
    }

    // A node's children that have any size, the largest first.
    ranked(node) {
      if (!this.ranks.has(node)) {
        const items = node.children.map((child) => ({ node: child, value: this.weight(child) })).filter(({ value }) => value > 0);
        this.ranks.set(node, items.sort((one, other) => other.value - one.value || one.node.first - other.node.first));
      }
      return this.ranks.get(node);
    }

    items() {
      return this.ranked(this.view.node).slice(this.view.from);
    }

    // ---- parts of the page -------------------------------------------------------------------------------------------

    makeParts() {
      this.details = MLB.mapdetails.create("map-details");
      this.toolbar = element("div", { class: "map-choices" });
      this.search = element("input", { type: "search", placeholder: "Find files: part of a path, or *.so", "aria-label": "Find files", spellcheck: "false", autocomplete: "off" });
      this.matches = element("output", { class: "map-matches" });
      this.crumbs = element("ol");
      this.stage = element("div", { class: "map-stage", role: "tree", "aria-label": "Treemap", "aria-description": HELP });
      this.live = element("p", { class: "map-live", "aria-live": "polite" });
      this.legend = element("ul", { class: "map-legend" });
      this.table = element("div");
      this.counterpart = element("details", { class: "map-table" }, element("summary", {}, "As a table"), this.table);
      const finding = element("div", { class: "map-search", role: "search" }, this.search, this.matches);
      this.container.classList.add("map");
      this.container.append(
        element("div", { class: "map-toolbar" }, this.toolbar, finding),
        element("nav", { class: "map-crumbs", "aria-label": "Place in the map" }, this.crumbs),
        this.stage, this.legend, element("p", { class: "map-help" }, HELP), this.counterpart, this.live, this.details.box,
      );
    }

    listen() {
      const { stage, search } = this;
      stage.addEventListener("click", (event) => this.withBox(event, (box) => this.open(box)));
      stage.addEventListener("keydown", (event) => this.key(event));
      stage.addEventListener("pointermove", (event) => this.hover(event));
      stage.addEventListener("pointerleave", () => this.details.hide());
      stage.addEventListener("focusin", (event) => this.focused(event));
      stage.addEventListener("focusout", () => this.details.hide());
      search.addEventListener("input", () => this.typed());
      search.addEventListener("keydown", (event) => this.searchKey(event));
      this.counterpart.addEventListener("toggle", () => this.fillTable());
      document.addEventListener("keydown", (event) => this.slash(event));
      window.addEventListener("hashchange", () => this.went());
      window.addEventListener("scroll", () => this.details.hide(), { passive: true });
      new ResizeObserver(() => this.resized()).observe(stage);
      MLB.on("show", (wanted) => this.show(wanted));
    }

    // ---- what is shown -----------------------------------------------------------------------------------------------

    // Takes over a view, or the parts of one, and draws it. `write` says whether the address tells of it: "push" for a new entry.
    apply({ path, ...wanted }, { write = "push" } = {}) {
      const before = this.view;
      const node = path ? find(this.tree, path) ?? this.tree.root : before.node;
      this.view = { ...before, node, ...wanted };
      const paints = MLB.paints.available(this.report);
      if (!Object.hasOwn(paints, this.view.paint)) this.view.paint = "kind";
      if (this.view.node.row >= 0) [this.view.node, this.current] = [this.view.node.parent, this.view.node];
      this.view.packed &&= this.report.packs;
      this.choosePaint();
      if (this.view.from >= this.ranked(this.view.node).length) this.view.from = 0;
      this.chooseLit();
      if (write) this.writeAddress(write);
      this.draw(before.node);
    }

    get packed() {
      return this.view.packed && (this.view.paint !== "change" || this.report.baseline.packs);
    }

    choosePaint() {
      const { paint } = this.view;
      const key = `${paint} ${this.packed}`;
      if (this.paintKey === key) return;
      if (this.paint && this.paintName !== paint) this.slot = -1;
      [this.paintKey, this.paintName] = [key, paint];
      this.paint = MLB.paints.create(paint, this.report, this.packed);
      this.running.weight = runningSums(this.tree, this.paint.weight);
      this.running.present = runningSums(this.tree, (row) => Number(this.paint.present(row)));
      this.total = this.weight(this.tree.root);
      this.ranks.clear();
    }

    // Which files are lit: those found, of the place of the legend that is chosen; all where nothing is asked.
    chooseLit() {
      const found = this.finder(this.view.find);
      const { slot, paint } = this;
      if (!found && slot < 0) {
        this.lit = null;
        return;
      }
      const lit = (row) => paint.present(row) && (slot < 0 || paint.slot(row) === slot) && (!found || found(row));
      const flags = Uint8Array.from({ length: this.report.count }, (_, row) => Number(lit(row)));
      this.lit = {
        files: runningSums(this.tree, (row) => flags[row]),
        bytes: runningSums(this.tree, (row) => flags[row] * paint.weight(row)),
        flags,
      };
    }

    writeAddress(how) {
      const { node, ...view } = this.view;
      const address = MLB.mapaddress.write({ path: names(node), ...view });
      if (address === (location.hash || "#")) return;
      try {
        history[`${how}State`](null, "", address);
      } catch {
        // a page without an address of its own, such as a frame's: then there is nothing to go back to
      }
    }

    went() {
      const view = MLB.mapaddress.read(location.hash);
      if (view) this.apply(view, { write: false });
    }

    // ---- drawing -----------------------------------------------------------------------------------------------------

    draw(before = this.view.node) {
      this.drawControls();
      const area = { x: 0, y: 0, width: this.stage.clientWidth, height: this.stage.clientHeight };
      if (!area.width || !area.height) return;
      const focused = this.stage.contains(document.activeElement);
      const last = this.drawn;
      const boxes = MLB.layout.arrange(this.items(), (node) => this.ranked(node), area);
      const layer = element("div", { class: "map-layer", role: "presentation" });
      const elements = new Map(boxes.map((box) => [box, this.makeBox(box, area)]));
      layer.append(...elements.values());
      this.drawn = { boxes, elements, area, layer, byElement: new Map([...elements].map(([box, each]) => [each, box])) };
      this.stage.replaceChildren(layer);
      this.details.hide();
      this.light();
      this.setCurrent(this.boxOf(this.current) ?? boxes[0], { focus: focused });
      if (before !== this.view.node) this.zoomed(before, last);
    }

    makeBox(box, area) {
      const nodes = this.nodesOf(box);
      const sums = this.sums(nodes);
      const about = { title: this.title(box), sums, figure: this.paint.figure(sums), name: this.name(box, sums) };
      about.fill = box.boxes.length ? {} : this.paint.fill((visit) => this.eachRow(nodes, visit), sums);
      return MLB.mapboxes.create(box, area, about);
    }

    // The nodes that a box stands for: its own, or the others that were too small.
    nodesOf(box) {
      if (box.node) return [box.node];
      const { node, from } = this.whole(box);
      return this.ranked(node).slice(from).map((item) => item.node);
    }

    // What a box of others is the end of: the children of a node from a place on.
    whole(box) {
      return box.parent ? { node: box.parent.node, from: box.rest } : { node: this.view.node, from: this.view.from + box.rest };
    }

    eachRow(nodes, visit) {
      for (const node of nodes) for (let at = node.first; at < node.last; at++) visit(this.tree.order[at]);
    }

    title(box) {
      if (!box.node) return `${formatCount(box.count)} others`;
      return visible(box.node.name) + (box.node.row < 0 && box.level > 1 ? "/" : "");
    }

    // What a screen reader says of a box: "torch, folder, 653 MB, 66.0 %".
    name(box, sums) {
      const title = box.node ? visible(box.node.name) : this.title(box);
      const type = !box.node ? `${formatCount(sums.present)} files` : box.node.row < 0 ? "folder" : this.report.kinds[this.report.kind[box.node.row]];
      const parts = [title, type, formatSize(sums.weight), formatPercent(sums.weight, this.total), this.paint.describe(sums)];
      return parts.filter(Boolean).join(", ");
    }

    zoomed(before, last) {
      const { node } = this.view;
      const { layer, area } = this.drawn;
      this.announce();
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
      const inner = last.boxes.find((box) => box.node === node);
      const outer = this.boxOf(before);
      if (inner) layer.animate([{ transform: within(inner, area), opacity: 0.3 }, { transform: "none", opacity: 1 }], ZOOM);
      else if (outer?.node === before) layer.animate([{ transform: around(outer, area), opacity: 0.3 }, { transform: "none", opacity: 1 }], ZOOM);
    }

    announce() {
      const { node, from } = this.view;
      const weight = this.items().reduce((sum, item) => sum + item.value, 0);
      const place = from ? `Others in ${visible(node.name)}` : visible(node.name);
      this.live.textContent = `${place}, ${formatSize(weight)}, ${formatPercent(weight, this.total)}, ${formatCount(this.items().length)} items`;
    }

    // Dims the boxes without any file that is lit.
    light() {
      const { lit } = this;
      const isLit = (node) => lit.files[node.last] > lit.files[node.first];
      for (const [box, each] of this.drawn.elements) each.classList.toggle("dim", Boolean(lit) && !this.nodesOf(box).some(isLit));
      this.tellMatches();
    }

    tellMatches() {
      if (!this.view.find.trim()) {
        this.matches.textContent = "";
        return;
      }
      const [files, bytes] = [this.lit.files.at(-1), this.lit.bytes.at(-1)];
      this.matches.textContent = files
        ? `${formatCount(files)} file${files === 1 ? "" : "s"}, ${formatSize(bytes)} (${formatPercent(bytes, this.total)})`
        : "no file";
    }

    // ---- controls ----------------------------------------------------------------------------------------------------

    drawControls() {
      this.drawChoices();
      this.drawCrumbs();
      this.drawLegend();
      this.fillTable();
      if (document.activeElement !== this.search) this.search.value = this.view.find;
    }

    drawChoices() {
      const key = `${this.view.paint} ${this.view.packed}`;
      if (this.choicesKey === key || this.toolbar.contains(document.activeElement)) return;
      this.choicesKey = key;
      const paints = Object.entries(MLB.paints.available(this.report));
      const sizes = [["", "Installed"], ["packed", "Compressed"]];
      const { choice } = MLB.parts;
      this.toolbar.replaceChildren(
        ...(this.report.packs ? [choice("Size", sizes, this.packed ? "packed" : "", (value) => this.apply({ packed: Boolean(value), from: 0 }))] : []),
        ...(paints.length > 1 ? [choice("Colour", paints, this.view.paint, (paint) => this.apply({ paint, from: 0 }))] : []),
      );
    }

    drawCrumbs() {
      const { node, from } = this.view;
      const all = chain(node);
      const items = all.map((each) => this.crumb(each, visible(each.name), each === node && !from));
      if (from) items.push(this.crumb(null, `${formatCount(this.items().length)} others`, true));
      this.crumbs.replaceChildren(...items);
    }

    crumb(node, title, here) {
      const text = element("bdi", {}, title);
      const weight = here ? this.items().reduce((sum, item) => sum + item.value, 0) : 0;
      const told = here ? element("span", { class: "map-figure" }, `${formatSize(weight)}, ${formatPercent(weight, this.total)}`) : null;
      const step = here ? element("span", { "aria-current": "page" }, text) : element("button", { type: "button", onclick: () => this.zoom(node) }, text);
      return element("li", {}, step, told);
    }

    drawLegend() {
      const key = `${this.paintKey} ${this.slot}`;
      if (this.legendKey === key) return;
      this.legendKey = key;
      const { legend, split, present, slot, format, title } = this.paint;
      const [sums, files] = [new Float64Array(legend.length), new Uint32Array(legend.length)];
      for (let row = 0; row < this.report.count; row++) {
        if (!present(row)) continue;
        files[slot(row)]++;
        split(row, (at, bytes) => { sums[at] += bytes; });
      }
      const shown = [...legend.keys()].filter((at) => files[at]);
      this.legend.setAttribute("aria-label", title);
      const pressed = this.legend.contains(document.activeElement) ? this.slot : -1;
      this.legend.replaceChildren(element("li", { class: "map-legend-title" }, title), ...shown.map((at) => this.legendItem(at, legend[at], format(sums[at]))));
      if (pressed >= 0) this.legend.querySelector("[aria-pressed=true]")?.focus();
    }

    legendItem(at, { label, colour, pattern }, size) {
      const swatch = element("span", { class: `map-swatch${pattern ? ` ${pattern}` : ""}`, style: { background: colour } });
      const press = () => {
        this.slot = this.slot === at ? -1 : at;
        this.chooseLit();
        this.drawLegend();
        this.light();
      };
      return element("li", {}, element("button", { type: "button", "aria-pressed": String(this.slot === at), onclick: press }, swatch, label, element("span", { class: "map-figure" }, size)));
    }

    fillTable() {
      if (!this.counterpart.open) {
        this.table.replaceChildren();
        return;
      }
      const items = this.items().map(({ node }) => ({ node, title: visible(node.name) + (node.row < 0 ? "/" : ""), sums: this.sums([node]) }));
      this.table.replaceChildren(MLB.mapdetails.table(this.report, items, this.total, (node) => (node.row < 0 ? this.zoom(node) : this.show({ row: node.row }))));
    }

    // ---- moving ------------------------------------------------------------------------------------------------------

    zoom(node, from = 0) {
      if (node === this.view.node && from === this.view.from) return;
      this.apply({ node, from });
    }

    // A click or Enter: into a folder or into the others; a file is selected, and its folder's outermost group entered.
    open(box) {
      this.current = box.node;
      if (!box.node) {
        const { node, from } = this.whole(box);
        this.zoom(node, from);
      } else if (box.node.row < 0) {
        this.current = null;
        this.zoom(box.node);
      } else {
        this.select(box.node);
        if (box.parent) this.zoom(outermost(box).node);
        this.tell(this.boxOf(box.node));
      }
    }

    out() {
      const { node, from } = this.view;
      if (from) this.zoom(node);
      else if (node.parent) {
        this.current = node;
        this.zoom(node.parent);
      }
    }

    select(node) {
      this.selected = node;
      MLB.emit("select", { row: node ? node.row : null });
    }

    // Shows a file or an owner that the page asks for.
    show({ row, owner }) {
      const node = row === undefined || row === null ? this.ownerNode(owner) : this.tree.nodes[row];
      if (!node) return;
      if (node.row >= 0) this.makeVisible(node);
      this.current = node.row >= 0 ? node : null;
      this.apply({ node: node.row >= 0 ? node.parent : node, from: 0 });
      const rank = node.row < 0 || this.boxOf(node) ? 0 : this.ranked(node.parent).findIndex((item) => item.node === node);
      if (rank > 0) this.apply({ from: rank }, { write: "replace" });
      if (node.row >= 0) this.select(node);
      this.stage.scrollIntoView({ block: "nearest" });
      this.setCurrent(this.boxOf(this.current) ?? this.drawn.boxes[0], { focus: true });
      this.stage.querySelector(".map-shown")?.classList.remove("map-shown");
      if (this.current) this.drawn.elements.get(this.boxOf(node))?.classList.add("map-shown");
    }

    ownerNode(owner) {
      const number = typeof owner === "string" ? this.report.owners.indexOf(owner) : owner;
      const { root } = this.tree;
      return root.children.find((node) => (node.row >= 0 ? this.report.owner[node.row] : node.owner) === number) ?? root;
    }

    // Changes to a paint in which a file has any area.
    makeVisible(node) {
      if (this.paint.present(node.row)) return;
      this.view.paint = this.report.base[node.row] >= 0 ? "change" : this.report.steps.length ? "step" : "kind";
    }

    boxOf(node) {
      return node ? this.drawn.boxes.find((box) => box.node === node) : undefined;
    }

    setCurrent(box, { focus = false } = {}) {
      const { elements } = this.drawn;
      if (!box) return;
      for (const each of elements.values()) if (each.tabIndex === 0) each.tabIndex = -1;
      const target = elements.get(box);
      target.tabIndex = 0;
      if (focus) target.focus({ preventScroll: true });
    }

    // ---- keys, pointer, details --------------------------------------------------------------------------------------

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const box = this.drawn.byElement.get(event.target);
      if (!box) return;
      const actions = { Enter: () => this.open(box), " ": () => this.open(box), Escape: () => this.out(), Backspace: () => this.out(), Home: () => this.zoom(this.tree.root) };
      const side = SIDES[event.key];
      const action = side ? () => this.step(box, side) : actions[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    }

    step(box, side) {
      const next = MLB.layout.neighbour(this.drawn.boxes, box, side);
      if (!next) return;
      this.current = next.node;
      this.setCurrent(next, { focus: true });
    }

    slash(event) {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
      event.preventDefault();
      this.search.focus();
      this.search.select();
    }

    typed() {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.find(this.search.value), TYPING);
    }

    find(text) {
      clearTimeout(this.typing);
      if (text === this.view.find) return;
      this.view.find = text;
      this.chooseLit();
      this.light();
      this.writeAddress("replace");
    }

    searchKey(event) {
      if (event.key === "Escape") {
        this.search.value = "";
        this.find("");
      } else if (event.key === "Enter") {
        this.find(this.search.value);
        const largest = this.largestMatch();
        if (largest >= 0) this.show({ row: largest });
      }
    }

    largestMatch() {
      let largest = -1;
      if (!this.view.find.trim()) return largest;
      for (let row = 0; row < this.report.count; row++) {
        if (this.lit.flags[row] && (largest < 0 || this.paint.weight(row) > this.paint.weight(largest))) largest = row;
      }
      return largest;
    }

    withBox(event, act) {
      const box = this.drawn.byElement.get(event.target.closest(".map-box"));
      if (box) act(box);
    }

    hover(event) {
      if (event.pointerType === "touch") return;
      this.withBox(event, (box) => this.tell(box, { left: event.clientX, right: event.clientX, top: event.clientY, bottom: event.clientY }));
    }

    focused(event) {
      const box = this.drawn.byElement.get(event.target);
      if (box && event.target.matches(":focus-visible")) this.tell(box);
    }

    // Shows the details of a box beside it, or beside the pointer.
    tell(box, near) {
      const target = box && this.drawn.elements.get(box);
      if (!target) return;
      const sums = this.sums(this.nodesOf(box));
      const title = box.node && box.node.row >= 0 ? visible(MLB.path(box.node.row)) : box.node ? names(box.node).map(visible).join("/") : this.title(box);
      const pairs = MLB.mapdetails.facts(this.report, { node: box.node, sums: { ...sums, base: sums.oldBase }, total: this.total });
      this.details.show(title, pairs, near ?? target.getBoundingClientRect());
      target.setAttribute("aria-describedby", this.details.box.id);
    }

    resized() {
      const { width, height } = this.drawn.area;
      if (this.stage.clientWidth !== width || this.stage.clientHeight !== height) this.draw();
    }
  }

  function outermost(box) {
    return box.parent ? outermost(box.parent) : box;
  }

  // The transform that makes the whole map as small as one of its boxes.
  function within(box, area) {
    return `translate(${box.x}px, ${box.y}px) scale(${box.width / area.width}, ${box.height / area.height})`;
  }

  // The transform that makes one of the boxes as large as the whole map.
  function around(box, area) {
    const [across, down] = [area.width / box.width, area.height / box.height];
    return `translate(${-box.x * across}px, ${-box.y * down}px) scale(${across}, ${down})`;
  }
}
