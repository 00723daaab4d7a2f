// What the map shows as the part of an address after the #, so that a view can be shared and gone back to.
"use strict";

MLB.mapaddress = (() => {
  const LONGEST = 4000;

  // The address of a view `{path, from, packed, paint, find}`; what is as at the start is left out, as the paint named `first` is.
  function write({ path, from, packed, paint, find }, first) {
    const parts = [];
    if (path.length) parts.push(`at=${path.map(encodeURIComponent).join("/")}`);
    if (from) parts.push(`from=${from}`);
    if (packed) parts.push("size=compressed");
    if (paint !== first) parts.push(`colour=${paint}`);
    if (find) parts.push(`find=${encodeURIComponent(find.toWellFormed())}`);
    return `#${parts.join("&")}`;
  }

  // The view of an address, null where it is none of ours; its paint is empty where it is the first.
  function read(hash) {
    const view = { path: [], from: 0, packed: false, paint: "", find: "" };
    if (hash.length < 2) return view;
    if (hash.length > LONGEST) return null;
    try {
      return hash.slice(1).split("&").every((part) => take(part, view)) ? view : null;
    } catch {
      return null; // a % that escapes nothing
    }
  }

  function take(part, view) {
    const [key, value = ""] = part.split(/=(.*)/s);
    if (key === "at") view.path = value.split("/").map(decodeURIComponent);
    else if (key === "from" && /^\d{1,7}$/.test(value)) view.from = Number(value);
    else if (key === "size" && value === "compressed") view.packed = true;
    else if (key === "colour" && /^[a-z]+$/.test(value)) view.paint = value;
    else if (key === "find") view.find = decodeURIComponent(value);
    else return false;
    return true;
  }

  return { write, read };
})();
