// What the page's parts share: the data, sizes as text, events, and elements that take file names for text alone.
"use strict";

const MLB = (() => {
  const ABSENT = -1;
  const SIZES = ["size", "packed", "was", "wasPacked", "base", "basePacked"];
  const DIFFERENCES = { was: "size", base: "size", wasPacked: "packed", basePacked: "packed" };
  const SVG = "http://www.w3.org/2000/svg";
  const SVG_TAGS = new Set(["svg", "g", "rect", "line", "path", "circle", "text", "tspan", "title", "desc"]);
  const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u205f-\u206f\ufeff\ufff9-\uffff]|\p{Cs}/gu;

  const BLANK = /(?<=^|[ /]) | (?=[ /]|$)/g;

  const listeners = new Map();

  // Reads the document that lies in the page into MLB.report; rejects where the browser cannot unpack it.
  async function load() {
    const script = document.getElementById("data");
    const plain = script.type === "application/json";
    MLB.report = decode(JSON.parse(plain ? script.textContent : await inflate(script.textContent)));
    script.remove();
    return MLB.report;
  }

  async function inflate(base64) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  }

  // Turns the columns into typed arrays, and sizes that are written as differences into sizes.
  function decode(report) {
    const { columns, folders, ...rest } = report;
    const typed = { step: Int32Array.from(columns.step) };
    for (const key of ["folder", "owner", "kind"]) typed[key] = Uint32Array.from(columns[key]);
    for (const key of SIZES) {
      const other = columns[DIFFERENCES[key]];
      const sizes = columns[key];
      typed[key] = sizes.length
        ? Float64Array.from(sizes, (size, row) => size + (other ? other[row] : 0))
        : new Float64Array(report.count).fill(ABSENT);
    }
    return { ...rest, ...typed, folders: folders.map(([parent, name]) => ({ parent, name })) };
  }

  // The path of a row's file.
  function path(row) {
    const parts = [MLB.report.names[row]];
    for (let folder = MLB.report.folder[row]; folder > 0; folder = MLB.report.folders[folder].parent)
      parts.push(MLB.report.folders[folder].name);
    return parts.reverse().join("/");
  }

  // A number with that many digits after the point; of two equally near ones the even one, as Python does it.
  function fixed(number, digits) {
    if (number < 0) return `-${fixed(-number, digits)}`;
    const halves = number * 2 ** (digits + 1);
    if (!Number.isInteger(halves) || halves % 2 === 0) return number.toFixed(digits);
    const below = Math.floor(number * 10 ** digits);
    return ((below + (below % 2)) / 10 ** digits).toFixed(digits);
  }

  // Bytes as a person reads them: decimal, with three significant digits.
  function formatSize(size) {
    let number = Math.abs(size);
    let unit = "B";
    for (const larger of ["kB", "MB", "GB", "TB"]) {
      if (number < 999.5) break;
      number /= 1000;
      unit = larger;
    }
    const digits = unit === "B" || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
    return `${size < 0 ? "-" : ""}${fixed(number, digits)} ${unit}`;
  }

  // Bytes that came to something, or went: "+12.3 MB", "-1.20 GB".
  function formatGrowth(size) {
    return `${size > 0 ? "+" : ""}${formatSize(size)}`;
  }

  // `part` of `whole` in percent with one digit.
  function formatPercent(part, whole) {
    const percent = whole ? (100 * part) / whole : 0;
    const text = fixed(Math.abs(percent), 1);
    return `${percent < 0 && Number(text) ? "-" : ""}${text} %`;
  }

  // A whole number with commas between its thousands.
  function formatCount(count) {
    return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
  }

  // A name with what cannot be seen in it, or turns the writing around, written out: "\u{202e}"; blanks, too, at an end of a name or in a row.
  function visible(text) {
    return text.replace(UNSEEN, written).replace(BLANK, written);
  }

  // The same for a text of several lines, whose blanks are told as they are.
  function visibleLines(text) {
    return text
      .split("\n")
      .map((line) => line.replace(UNSEEN, written))
      .join("\n");
  }

  function written(character) {
    return `\\u{${character.codePointAt(0).toString(16)}}`;
  }

  function on(event, listener) {
    if (!listeners.has(event)) listeners.set(event, []);
    listeners.get(event).push(listener);
  }

  function emit(event, detail) {
    for (const listener of listeners.get(event) ?? []) listener(detail);
  }

  // A new element, or one of SVG. Children are nodes or texts, null for none, lists of them; attributes may be listeners
  // (`onclick: function`), a `style` of properties, and are left out where they are null or false.
  function element(tag, attributes = {}, ...children) {
    const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value === null || value === undefined || value === false) continue;
      if (typeof value === "function") node.addEventListener(name.slice(2), value);
      else if (name === "style") for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  }

  return {
    report: null,
    load,
    path,
    fixed,
    formatSize,
    formatGrowth,
    formatPercent,
    formatCount,
    visible,
    visibleLines,
    on,
    emit,
    element,
  };
})();
