// The tree that the map shows: owner, folder, file. The files of a node are a stretch of one order, so that any sum is a difference.
"use strict";

MLB.hierarchy = (() => {
  // Returns the tree of MLB.report: its root, `order` (rows as the tree has them), and each row's node.
  function build(report) {
    const root = newNode(report.name, null);
    collect(report, root);
    for (const owner of [...root.children]) withoutCommonFolders(owner);
    root.children = root.children.map(singleFile);
    if (root.children.length === 1 && root.children[0].row < 0) root.children = root.children[0].children;
    return number(root, report.count);
  }

  // A folder or an owner: `row` is -1. A file: its row.
  function newNode(name, parent, row = -1) {
    const node = { name, parent, row, children: [], first: 0, last: 0, owner: -1 };
    if (parent) parent.children.push(node);
    return node;
  }

  function collect(report, root) {
    const owners = report.owners.map((name, owner) => Object.assign(newNode(name || "(no owner)", root), { owner }));
    const known = owners.map((node) => new Map([[0, node]]));
    for (let row = 0; row < report.count; row++) {
      const owner = report.owner[row];
      newNode(report.names[row], folderNode(report.folders, report.folder[row], known[owner]), row);
    }
    root.children = owners.filter((owner) => owner.children.length);
  }

  function folderNode(folders, folder, known) {
    const missing = [];
    let at = folder;
    for (; !known.has(at); at = folders[at].parent) missing.push(at);
    let node = known.get(at);
    for (const each of missing.reverse()) known.set(each, (node = newNode(folders[each].name, node)));
    return node;
  }

  // Leaves away the folders that all of an owner's files are in, and makes one node of each chain of single folders below.
  function withoutCommonFolders(owner) {
    while (owner.children.length === 1 && owner.children[0].row < 0) owner.children = owner.children[0].children;
    const open = [owner];
    while (open.length) {
      const node = open.pop();
      node.children = node.children.map(endOfChain);
      open.push(...node.children);
    }
  }

  function endOfChain(node) {
    const names = [node.name];
    let end = node;
    while (end.children.length === 1) names.push((end = end.children[0]).name);
    end.name = names.join("/");
    return end;
  }

  // An owner of one file is shown as that file.
  function singleFile(owner) {
    return owner.children.length === 1 && owner.children[0].row >= 0 ? owner.children[0] : owner;
  }

  // Sets every node's parent, and its stretch [first, last) of the order.
  function number(root, count) {
    const order = new Uint32Array(count);
    const nodes = new Array(count);
    let at = 0;
    const open = [[root, null]];
    while (open.length) {
      const [node, parent] = open.pop();
      if (parent === "end") { node.last = at; continue; }
      Object.assign(node, { parent, first: at, last: at + 1 });
      if (node.row >= 0) {
        nodes[node.row] = node;
        order[at++] = node.row;
        continue;
      }
      open.push([node, "end"]);
      for (let child = node.children.length - 1; child >= 0; child--) open.push([node.children[child], node]);
    }
    return { root, order, nodes };
  }

  // A node and all above it, the root first.
  function chain(node) {
    const nodes = [];
    for (let each = node; each; each = each.parent) nodes.push(each);
    return nodes.reverse();
  }

  // The names that lead from the root to a node, as an address can hold them: without lone surrogates.
  function names(node) {
    return chain(node).slice(1).map((each) => each.name.toWellFormed());
  }

  // The node that names lead to, or the last one on the way that there is.
  function find(tree, path) {
    let node = tree.root;
    for (const name of path) {
      const called = node.children.filter((child) => child.name.toWellFormed() === name);
      const next = called.find((child) => child.row < 0) ?? called[0]; // a file can have become a folder
      if (!next) break;
      node = next;
    }
    return node;
  }

  // Sums over the order of what `value(row)` returns: those of any node are `sums[node.last] - sums[node.first]`.
  function runningSums(tree, value) {
    const sums = new Float64Array(tree.order.length + 1);
    tree.order.forEach((row, at) => { sums[at + 1] = sums[at] + value(row); });
    return sums;
  }

  return { build, chain, names, find, runningSums };
})();
