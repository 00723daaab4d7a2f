// The map: what it shows, and how a person moves in it.
"use strict";

{
  const { element, formatCount, visible } = MLB;
  const { chain, find, names } = MLB.hierarchy;
  const SIDES = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };
  const TYPING = 120; // milliseconds after the last key until a search begins
  const ZOOM = { duration: 200, easing: "cubic-bezier(0.2, 0, 0, 1)" };
  const HELP = "Arrow keys move between boxes, Enter zooms in, Escape zooms out, Home shows everything, / searches.";

  // Puts the map of MLB.report into a container of the page.
  MLB.mountMap = (container) => new TreeMap(MLB.report, container).start();

  class TreeMap {
    constructor(report, container) {
      this.report = report;
      this.container = container;
      this.numbers = new MLB.MapNumbers(report);
      this.view = { node: this.numbers.tree.root, from: 0, packed: false, paint: "", find: "" };
      this.drawn = { boxes: [], elements: new Map(), byElement: new Map(), area: { width: 0, height: 0 } };
      this.slot = -1; // the place of the legend that alone is lit
      this.current = null; // the node whose box takes the focus
    }

    start() {
      this.makeParts();
      this.listen();
      this.apply(MLB.mapaddress.read(location.hash) ?? {}, { write: null });
    }

    makeParts() {
      this.details = MLB.mapdetails.create("map-details");
      this.choices = element("div", { class: "map-choices" });
      this.search = element("input", { type: "search", placeholder: "Find files: a part of a path, or *.so", "aria-label": "Find files", spellcheck: "false", autocomplete: "off" });
      this.matches = element("output", { class: "map-matches" });
      this.crumbs = element("ol");
      this.stage = element("div", { class: "map-stage", role: "tree", "aria-label": "Treemap", "aria-description": HELP });
      this.live = element("p", { class: "map-live", "aria-live": "polite" });
      this.legend = element("ul", { class: "map-legend" });
      this.table = element("div");
      this.counterpart = element("details", { class: "map-table" }, element("summary", {}, "What is shown, as a table"), this.table);
      this.container.classList.add("map");
      this.container.append(
        element("div", { class: "map-toolbar" }, this.choices, element("div", { class: "map-search", role: "search" }, this.search, this.matches)),
        element("nav", { class: "map-crumbs", "aria-label": "Place in the map" }, this.crumbs),
        ...[this.stage, this.legend, element("p", { class: "map-help" }, HELP), this.counterpart, this.live, this.details.box],
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

    // Takes over a view, or parts of one, and draws it. `write` is how the address tells of it: as a new entry ("push"), or not.
    apply({ path, ...wanted }, { write = "push" } = {}) {
      const before = this.view;
      this.view = { ...this.view, ...(path && { node: find(this.numbers.tree, path) }), ...wanted };
      const { view } = this;
      if (view.node.row >= 0) [view.node, this.current] = [view.node.parent, view.node];
      if (!Object.hasOwn(MLB.paints.available(this.report), view.paint)) view.paint = MLB.paints.first(this.report);
      view.packed &&= this.report.packs && (view.paint !== "change" || this.report.baseline.packs);
      this.choosePaint();
      if (view.from >= this.numbers.ranked(view.node).length) view.from = 0;
      this.numbers.light(view.find, this.slot);
      if (write) this.writeAddress(write);
      this.drawControls();
      this.draw(before);
    }

    choosePaint() {
      const { paint, packed } = this.view;
      const { numbers } = this;
      if (this.paintName === paint && numbers.packed === packed) return;
      if (this.paintName !== paint) this.slot = -1;
      this.paintName = paint;
      numbers.usePaint(MLB.paints.create(paint, this.report, packed), packed);
    }

    writeAddress(how) {
      const { node, ...view } = this.view;
      const address = MLB.mapaddress.write({ path: names(node), ...view }, MLB.paints.first(this.report));
      if (address === (location.hash || "#")) return;
      try {
        history[`${how}State`](null, "", address);
      } catch {
        // a page without an address of its own, such as a frame's: there is nothing to go back to
      }
    }

    went() {
      const view = MLB.mapaddress.read(location.hash);
      if (view) this.apply(view, { write: null });
    }

    // What the view shows, the largest first.
    items() {
      return this.numbers.ranked(this.view.node).slice(this.view.from);
    }

    // The nodes of all files that the view is about, those without a size, too.
    shown() {
      const { node, from } = this.view;
      return from ? this.items().map((item) => item.node) : [node];
    }

    draw(before = this.view) {
      const area = { x: 0, y: 0, width: this.stage.clientWidth, height: this.stage.clientHeight };
      if (!area.width || !area.height) return;
      const focused = this.stage.contains(document.activeElement);
      const last = this.drawn;
      const boxes = MLB.layout.arrange(this.items(), (node) => this.numbers.ranked(node), area);
      const elements = new Map(boxes.map((box) => [box, this.makeBox(box, area)]));
      const layer = element("div", { class: "map-layer", role: "presentation" }, [...elements.values()]);
      this.drawn = { boxes, elements, area, layer, byElement: new Map([...elements].map(([box, each]) => [each, box])) };
      this.stage.replaceChildren(boxes.length ? layer : element("p", { class: "map-empty" }, "No file here has any size."));
      this.details.hide();
      this.dim();
      this.setCurrent(this.boxOf(this.current) ?? boxes[0], { focus: focused });
      if (before.node !== this.view.node || before.from !== this.view.from) this.zoomed(before.node, last);
    }

    makeBox(box, area) {
      const { numbers } = this;
      const nodes = this.nodesOf(box);
      const sums = numbers.sums(nodes);
      const fill = box.boxes.length ? {} : numbers.paint.fill((visit) => numbers.eachRow(nodes, visit), sums);
      return MLB.mapboxes.create(box, area, { title: this.title(box), figure: numbers.paint.figure(sums), name: this.name(box, sums), fill });
    }

    // The nodes that a box stands for: its own, or the others that were too small.
    nodesOf(box) {
      if (box.node) return [box.node];
      const { node, from } = this.whole(box);
      return this.numbers.ranked(node).slice(from).map((item) => item.node);
    }

    // What a box of others is the end of: the children of a node from a place on.
    whole(box) {
      return box.parent ? { node: box.parent.node, from: box.rest } : { node: this.view.node, from: this.view.from + box.rest };
    }

    title(box) {
      if (!box.node) return `${formatCount(box.count)} others`;
      return visible(box.node.name) + (box.node.row < 0 && box.node.owner < 0 ? "/" : "");
    }

    // What a screen reader says of a box: "torch, folder, 653 MB, 66.0 %".
    name(box, sums) {
      const { node } = box;
      const type = !node ? `${formatCount(sums.present)} files` : node.row < 0 ? "folder" : visible(this.report.kinds[this.report.kind[node.row]]);
      return [node ? visible(node.name) : this.title(box), type, this.numbers.tell(sums)].join(", ");
    }

    zoomed(before, last) {
      const rows = [];
      this.numbers.eachRow(this.shown(), (row) => rows.push(row));
      MLB.emit("zoom", { rows });
      const { layer, area } = this.drawn;
      this.announce();
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
      const inner = last.boxes.find((box) => box.node === this.view.node);
      const outer = this.boxOf(before);
      const transform = inner ? MLB.layout.within(inner, area) : outer ? MLB.layout.around(outer, area) : "none";
      layer.animate([{ transform, opacity: 0.3 }, { transform: "none", opacity: 1 }], ZOOM);
    }

    announce() {
      const { node, from } = this.view;
      const items = this.items();
      const place = from ? `Others in ${visible(node.name)}` : visible(node.name);
      this.live.textContent = `${place}, ${this.toldOf(items)}, ${formatCount(items.length)} items`;
    }

    toldOf(items) {
      return this.numbers.tell(this.numbers.sums(items.map((item) => item.node)));
    }

    // Dims what is not lit, of a folder that is one box by its share, and tells how much is.
    dim() {
      const { numbers } = this;
      for (const [box, each] of this.drawn.elements) MLB.mapboxes.light(each, numbers.litShare(this.nodesOf(box)));
      const asked = this.view.find.trim() !== "";
      this.matches.textContent = asked ? MLB.mapcontrols.matches(numbers, this.shown()) : "";
    }

    drawControls() {
      const { crumbs } = MLB.mapcontrols;
      const items = this.items();
      this.crumbs.replaceChildren(...crumbs(chain(this.view.node), this.view.from ? items.length : 0, this.toldOf(items), (node) => this.zoom(node)));
      this.drawChoices();
      this.drawLegend();
      this.fillTable();
      if (document.activeElement !== this.search) this.search.value = this.view.find;
    }

    drawChoices() {
      if (this.choices.contains(document.activeElement)) return;
      this.choices.replaceChildren(...MLB.mapcontrols.choices(this.report, this.view, (wanted) => this.apply(wanted)));
    }

    drawLegend() {
      const key = `${this.paintName} ${this.numbers.packed} ${this.slot}`;
      if (this.legendKey === key) return;
      this.legendKey = key;
      const at = [...this.legend.querySelectorAll("button")].indexOf(document.activeElement);
      const { paint } = this.numbers;
      this.legend.setAttribute("aria-label", paint.title);
      this.legend.replaceChildren(...MLB.mapcontrols.legend(this.report, paint, this.slot, (slot) => this.press(slot)));
      this.legend.querySelectorAll("button")[at]?.focus();
    }

    press(slot) {
      this.slot = this.slot === slot ? -1 : slot;
      this.numbers.light(this.view.find, this.slot);
      this.drawLegend();
      this.dim();
    }

    fillTable() {
      if (!this.counterpart.open) return this.table.replaceChildren();
      const items = this.items().map(({ node }) => ({ node, title: this.title({ node }), sums: this.numbers.sums([node]) }));
      const open = (node) => (node.row < 0 ? this.zoom(node) : this.show({ row: node.row }));
      return this.table.replaceChildren(MLB.mapdetails.table(this.report, this.numbers, items, open));
    }

    zoom(node, from = 0) {
      if (node !== this.view.node || from !== this.view.from) this.apply({ node, from });
    }

    // A click or Enter: into a folder or the others; a file is selected, and the outermost group around it entered.
    open(box) {
      this.current = null;
      if (!box.node) {
        const { node, from } = this.whole(box);
        this.zoom(node, from);
      } else if (box.node.row < 0) this.zoom(box.node);
      else this.openFile(box);
    }

    openFile(box) {
      this.current = box.node;
      MLB.emit("select", { row: box.node.row });
      if (box.parent) this.zoom(outermost(box).node);
      this.tell(this.boxOf(box.node));
    }

    out() {
      const { node, from } = this.view;
      if (!from && !node.parent) return;
      MLB.emit("select", { row: null });
      this.current = from ? null : node;
      this.zoom(from ? node : node.parent);
    }

    // Shows a file or an owner that the page asks for.
    show({ row, owner }) {
      const node = Number.isInteger(row) ? this.numbers.tree.nodes[row] : this.numbers.ownerNode(owner);
      if (!node) return;
      const file = node.row >= 0;
      this.current = file ? node : null;
      this.apply({ node: file ? node.parent : node, from: 0, ...(file && { paint: this.paintFor(node.row) }) });
      if (file && !this.boxOf(node)) this.showRank(node);
      if (file) MLB.emit("select", { row: node.row });
      this.stage.scrollIntoView({ block: "nearest" });
      this.setCurrent(this.boxOf(this.current) ?? this.drawn.boxes[0], { focus: true });
      this.drawn.elements.get(this.boxOf(this.current))?.classList.add("map-shown");
    }

    // Shows the others of which a file that is too small to be seen is the first; an empty one is nowhere.
    showRank(node) {
      const rank = this.numbers.ranked(node.parent).findIndex((item) => item.node === node);
      if (rank > 0) this.apply({ from: rank }, { write: "replace" });
      else this.live.textContent = `${visible(node.name)} has no size, so the map has no box for it`;
    }

    // The paint in which a file is there: the one in use, if it is.
    paintFor(row) {
      if (this.numbers.paint.present(row)) return this.view.paint;
      return this.report.base[row] >= 0 ? "change" : "step";
    }

    boxOf(node) {
      return node ? this.drawn.boxes.find((box) => box.node === node) : undefined;
    }

    setCurrent(box, { focus = false } = {}) {
      if (!box) return;
      for (const each of this.drawn.elements.values()) if (each.tabIndex === 0) each.tabIndex = -1;
      const target = this.drawn.elements.get(box);
      target.tabIndex = 0;
      if (focus) target.focus({ preventScroll: true });
    }

    key(event) {
      const box = this.drawn.byElement.get(event.target);
      if (!box || event.ctrlKey || event.metaKey || event.altKey) return;
      const action = this.actionOf(event.key, box);
      if (!action) return;
      event.preventDefault();
      action();
    }

    actionOf(key, box) {
      if (Object.hasOwn(SIDES, key)) return () => this.step(box, SIDES[key]);
      if (key === "Enter" || key === " ") return () => this.open(box);
      if (key === "Escape" || key === "Backspace") return () => this.out();
      return key === "Home" ? () => this.zoom(this.numbers.tree.root) : null;
    }

    step(box, side) {
      const next = MLB.layout.neighbour(this.drawn.boxes, box, side);
      if (!next) return;
      this.current = next.node;
      this.setCurrent(next, { focus: true });
    }

    slash(event) {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest?.("input:not([type=radio]), textarea, select, [contenteditable]")) return;
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
      this.numbers.light(text, this.slot);
      this.dim();
      this.writeAddress("replace");
    }

    searchKey(event) {
      if (event.key === "Escape") {
        this.search.value = "";
        this.find("");
      } else if (event.key === "Enter") {
        this.find(this.search.value);
        const row = this.view.find.trim() ? this.numbers.largestLit() : -1;
        if (row >= 0) this.show({ row });
      }
    }

    withBox(event, act) {
      const box = this.drawn.byElement.get(event.target.closest(".map-box"));
      if (box) act(box);
    }

    hover(event) {
      const { clientX, clientY, pointerType } = event;
      if (pointerType === "touch") return;
      this.withBox(event, (box) => this.tell(box, { left: clientX, right: clientX, top: clientY, bottom: clientY }));
    }

    focused(event) {
      if (event.target.matches(":focus-visible")) this.tell(this.drawn.byElement.get(event.target));
    }

    // Shows the details of a box beside it, or beside the pointer.
    tell(box, near) {
      const target = box && this.drawn.elements.get(box);
      if (!target) return;
      const { node } = box;
      const title = !node ? this.title(box) : node.row >= 0 ? visible(MLB.path(node.row)) : names(node).map(visible).join("/");
      const facts = MLB.mapdetails.facts(this.report, node ? node.row : -1, this.numbers.sums(this.nodesOf(box)), this.numbers.total);
      this.details.show(target, title, facts, near ?? target.getBoundingClientRect());
    }

    resized() {
      const { width, height } = this.drawn.area;
      if (this.stage.clientWidth !== width || this.stage.clientHeight !== height) this.draw();
    }
  }

  function outermost(box) {
    return box.parent ? outermost(box.parent) : box;
  }
}
