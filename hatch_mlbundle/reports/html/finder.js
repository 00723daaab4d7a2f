// Finds files by a part of their path, or by a glob where there is a * or ? in it.
"use strict";

MLB.finder = (() => {
  // Returns what makes a test of rows from a text, null from an empty one. Upper and lower case are the same.
  function create(report) {
    let paths = null;
    return (text) => {
      const wanted = text.trim().toLowerCase();
      if (!wanted) return null;
      paths ??= Array.from({ length: report.count }, (_, row) => MLB.path(row).toLowerCase());
      if (!/[*?]/.test(wanted)) return (row) => paths[row].includes(wanted);
      const [whole, below] = [glob(wanted), glob(`*/${wanted}`)];
      return (row) => whole(paths[row]) || (!wanted.startsWith("*") && below(paths[row]));
    };
  }

  // Returns a test of texts: * stands for any characters, / too, ? for one. Each piece is taken where it is first found: no pattern is slow.
  function glob(pattern) {
    const pieces = pattern.split("*");
    const first = pieces.shift();
    if (!pieces.length) return (text) => text.length === first.length && lies(first, text, 0);
    const last = pieces.pop();
    return (text) => {
      const end = text.length - last.length;
      if (end < first.length || !lies(first, text, 0) || !lies(last, text, end)) return false;
      let at = first.length;
      for (const piece of pieces) {
        const place = placeOf(piece, text, at);
        if (place < 0) return false;
        at = place + piece.length;
      }
      return at <= end;
    };
  }

  function placeOf(piece, text, from) {
    if (!piece.includes("?")) return text.indexOf(piece, from);
    for (let at = from; at + piece.length <= text.length; at++) if (lies(piece, text, at)) return at;
    return -1;
  }

  function lies(piece, text, at) {
    if (!piece.includes("?")) return text.startsWith(piece, at);
    for (let offset = 0; offset < piece.length; offset++) if (piece[offset] !== "?" && piece[offset] !== text[at + offset]) return false;
    return true;
  }

  return { create, glob };
})();
