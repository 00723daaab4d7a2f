// The numbers behind the map: sums over any of its nodes, their order, and which files are lit.
"use strict";

MLB.MapNumbers = class {
  constructor(report) {
    this.report = report;
    this.tree = MLB.hierarchy.build(report);
    this.find = MLB.finder.create(report);
    this.lit = null;
    const { size, packed, was, wasPacked, base, basePacked } = report;
    const columns = { size, packed, before: was, packedBefore: wasPacked, base, packedBase: basePacked };
    this.running = {};
    for (const [key, column] of Object.entries(columns)) this.running[key] = this.runningSums((row) => Math.max(column[row], 0));
    this.running.files = this.runningSums((row) => Number(size[row] >= 0));
    this.running.baseFiles = this.runningSums((row) => Number(base[row] >= 0));
  }

  runningSums(value) {
    return MLB.hierarchy.runningSums(this.tree, value);
  }

  // Takes a paint (paints.js): from now on it says what weighs how much.
  usePaint(paint, packed) {
    this.paint = paint;
    this.packed = packed;
    this.running.weight = this.runningSums(paint.weight);
    this.running.present = this.runningSums((row) => Number(paint.present(row)));
    this.total = this.weight(this.tree.root);
    this.ranks = new Map();
  }

  weight(node) {
    return this.running.weight[node.last] - this.running.weight[node.first];
  }

  // The sums of all columns over some nodes; `now`, `was` and `old` (the baseline's) are those of the size that is chosen.
  sums(nodes) {
    return this.sumsBy((running) => nodes.reduce((sum, node) => sum + running[node.last] - running[node.first], 0));
  }

  // The same of all files that are lit.
  litSums() {
    const at = [...this.tree.order.keys()].filter((place) => this.lit[this.tree.order[place]]);
    return this.sumsBy((running) => at.reduce((sum, place) => sum + running[place + 1] - running[place], 0));
  }

  sumsBy(total) {
    const sums = {};
    for (const [key, running] of Object.entries(this.running)) sums[key] = total(running);
    const [now, was, old] = this.packed ? [sums.packed, sums.packedBefore, sums.packedBase] : [sums.size, sums.before, sums.base];
    return { ...sums, now, was, old };
  }

  // Sums in words, as the paint tells them: "676 MB, 69.6 %".
  tell(sums) {
    return this.paint.tell(sums, this.total);
  }

  eachRow(nodes, visit) {
    for (const node of nodes) for (let at = node.first; at < node.last; at++) visit(this.tree.order[at]);
  }

  // A node's children that have any size, the largest first, as `{node, value}`.
  ranked(node) {
    if (!this.ranks.has(node)) {
      const items = node.children.map((child) => ({ node: child, value: this.weight(child) })).filter(({ value }) => value > 0);
      this.ranks.set(node, items.sort((one, other) => other.value - one.value || one.node.first - other.node.first));
    }
    return this.ranks.get(node);
  }

  // Lights the files that a text finds, of one place of the legend (-1 for all); everything where nothing is asked.
  light(text, slot) {
    const found = this.find(text);
    const { paint } = this;
    const lit = (row) => paint.present(row) && (slot < 0 || paint.slot(row) === slot) && (!found || found(row));
    this.lit = found || slot >= 0 ? Uint8Array.from({ length: this.report.count }, (_, row) => Number(lit(row))) : null;
    this.litFiles = this.lit && this.runningSums((row) => this.lit[row]);
    this.litBytes = this.lit && this.runningSums((row) => this.lit[row] * paint.weight(row));
  }

  // How many files of some nodes are lit.
  litCount(nodes) {
    return nodes.reduce((total, { first, last }) => total + this.litFiles[last] - this.litFiles[first], 0);
  }

  // How much of some nodes is lit, from 0 to 1, null where no file is.
  litShare(nodes) {
    if (!this.lit) return 1;
    const sum = (running) => nodes.reduce((total, node) => total + running[node.last] - running[node.first], 0);
    return this.litCount(nodes) ? sum(this.litBytes) / sum(this.running.weight) : null;
  }

  // The row of the largest file that is lit, -1 where none is.
  largestLit() {
    let largest = -1;
    this.lit?.forEach((lit, row) => {
      if (lit && (largest < 0 || this.paint.weight(row) > this.paint.weight(largest))) largest = row;
    });
    return largest;
  }

  // The node of an owner, by name or number; the root where the tree has none for it.
  ownerNode(owner) {
    const number = typeof owner === "string" ? this.report.owners.indexOf(owner) : owner;
    const owned = (node) => (node.row >= 0 ? this.report.owner[node.row] : node.owner) === number;
    return this.tree.root.children.find(owned) ?? this.tree.root;
  }
};
