// Finds files by a part of their path, or by a glob where there is a * or ? in it.
"use strict";

MLB.finder = (() => {
  // Returns a test of rows for a text, null for an empty one. Upper and lower case are the same.
  function create(report) {
    let paths = null;
    const lower = () => (paths ??= Array.from({ length: report.count }, (_, row) => MLB.path(row).toLowerCase()));
    return (text) => {
      const wanted = text.trim().toLowerCase();
      if (!wanted) return null;
      const all = lower();
      if (!/[*?]/.test(wanted)) return (row) => all[row].includes(wanted);
      return (row) => matches(wanted, all[row]) || matches(`*/${wanted}`, all[row]);
    };
  }

  // Whether a glob is all of a text. Goes back to the last star alone: no pattern makes it slow.
  function matches(pattern, text) {
    let [at, place, star, mark] = [0, 0, -1, 0];
    while (place < text.length) {
      if (pattern[at] === "*") [star, mark] = [at++, place];
      else if (at < pattern.length && (pattern[at] === "?" || pattern[at] === text[place])) [at, place] = [at + 1, place + 1];
      else if (star >= 0) [at, place] = [star + 1, ++mark];
      else return false;
    }
    while (pattern[at] === "*") at++;
    return at === pattern.length;
  }

  return { create, matches };
})();
