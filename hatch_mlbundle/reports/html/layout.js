// Where the boxes of a treemap lie: squarified (Bruls, Huizing, van Wijk: "Squarified Treemaps", 2000), groups within groups.
"use strict";

MLB.layout = (() => {
  const HEADER = 20;
  const PADDING = 3;
  const SMALLEST = 3;
  const BOXES = 500;
  const INNER = 250; // of one group that is not the whole
  // The room that a group needs to show its children, by its level: two levels are shown almost always, the others where they are large.
  const ROOM = [
    { width: 84, height: 60 },
    { width: 84, height: 60 },
    { width: 150, height: 110 },
    { width: 240, height: 180 },
  ];

  // Divides a rectangle among values, the largest first: returns a rectangle for each, areas in proportion, as square as they get.
  function squarify(values, area) {
    const free = { ...area };
    const total = values.reduce((sum, value) => sum + value, 0);
    const scale = total > 0 ? (area.width * area.height) / total : 0;
    const rectangles = [];
    for (let start = 0; start < values.length; ) {
      const end = rowEnd(values, start, scale, Math.min(free.width, free.height));
      rectangles.push(...placeRow(values.slice(start, end), scale, free));
      start = end;
    }
    return rectangles;
  }

  // How many values make the next row: one more as long as that makes the worst of its boxes squarer.
  function rowEnd(values, start, scale, side) {
    let sum = values[start] * scale;
    let worst = worstRatio(sum, values[start] * scale, values[start] * scale, side);
    let end = start + 1;
    for (; end < values.length; end++) {
      const longer = sum + values[end] * scale;
      const ratio = worstRatio(longer, values[start] * scale, values[end] * scale, side);
      if (ratio > worst) break;
      [sum, worst] = [longer, ratio];
    }
    return end;
  }

  function worstRatio(sum, largest, smallest, side) {
    const squares = side * side;
    return Math.max((squares * largest) / (sum * sum), (sum * sum) / (squares * smallest));
  }

  // Lays a row along the shorter side of what is free, and takes it away from there.
  function placeRow(values, scale, free) {
    const sum = values.reduce((total, value) => total + value, 0);
    const upright = free.width >= free.height;
    const side = upright ? free.height : free.width;
    const thickness = side > 0 ? Math.min((sum * scale) / side, upright ? free.width : free.height) : 0;
    let at = upright ? free.y : free.x;
    const rectangles = values.map((value) => {
      const length = sum > 0 ? (side * value) / sum : 0;
      const rectangle = upright
        ? { x: free.x, y: at, width: thickness, height: length }
        : { x: at, y: free.y, width: length, height: thickness };
      at += length;
      return rectangle;
    });
    if (upright) [free.x, free.width] = [free.x + thickness, free.width - thickness];
    else [free.y, free.height] = [free.y + thickness, free.height - thickness];
    return rectangles;
  }

  // Lays out items `{node, value}`, the largest first; those too small to be seen become one item `{rest: position of the first, count}`.
  // A single one that is too small stays: with it, one that can be seen would have to go.
  function divide(items, area, room = BOXES) {
    let kept = visibleCount(items, area, room);
    for (;;) {
      const merged = withRest(items, kept);
      const rectangles = squarify(merged.map((item) => item.value), area);
      const thin = merged.findIndex((item, at) => item.node && narrow(rectangles[at]));
      const fewer = merged.slice(0, Math.max(thin, 0)).filter((item) => item.node).length;
      if (fewer < 1 || items.length - fewer < 2) return merged.map((item, at) => ({ ...item, ...rectangles[at] }));
      kept = fewer;
    }
  }

  function narrow(rectangle) {
    return Math.min(rectangle.width, rectangle.height) < SMALLEST;
  }

  function visibleCount(items, area, most) {
    const total = items.reduce((sum, item) => sum + item.value, 0);
    const least = (total * SMALLEST * SMALLEST) / (area.width * area.height);
    const small = items.findIndex((item, at) => at >= most || item.value < least);
    return small < 0 ? items.length : Math.max(small, 1);
  }

  // The first `kept` items, and the others as one among them, where its size puts it.
  function withRest(items, kept) {
    const rest = items.slice(kept);
    if (rest.length < 2) return items;
    const merged = { node: null, rest: kept, count: rest.length, value: rest.reduce((sum, item) => sum + item.value, 0) };
    const shown = items.slice(0, kept);
    const place = shown.findIndex((item) => item.value < merged.value);
    shown.splice(place < 0 ? kept : place, 0, merged);
    return shown;
  }

  // Boxes for `items` and what is below them, where there is room, the largest groups opened first; a parent comes before its children.
  // `children(node)` returns a group's items, the largest first, none for a file.
  function arrange(items, children, area) {
    const top = { level: 0, boxes: boxesOf(items, area, null, BOXES) };
    let drawn = top.boxes.length;
    const queue = [...top.boxes];
    while (queue.length && drawn < BOXES) {
      const box = takeLargest(queue);
      const inner = innerArea(box);
      const below = inner && box.node ? children(box.node) : [];
      if (!below.length) continue;
      box.boxes = boxesOf(below, inner, box, Math.min(INNER, BOXES - drawn));
      drawn += box.boxes.length;
      queue.push(...box.boxes);
    }
    return flatten(top.boxes);
  }

  function boxesOf(items, area, parent, room) {
    const boxes = divide(items, area, room).map((box) => ({ ...box, parent, level: parent ? parent.level + 1 : 1, boxes: [] }));
    boxes.forEach((box, at) => Object.assign(box, { position: at + 1, siblings: boxes.length }));
    return boxes;
  }

  function takeLargest(queue) {
    let largest = 0;
    for (let at = 1; at < queue.length; at++) {
      if (queue[at].width * queue[at].height > queue[largest].width * queue[largest].height) largest = at;
    }
    const [box] = queue.splice(largest, 1);
    return box;
  }

  // What a group has for its children below its header, null where that would be too little to read.
  function innerArea(box) {
    const least = ROOM[box.level - 1];
    if (!least || box.width < least.width || box.height < least.height) return null;
    return {
      x: box.x + PADDING,
      y: box.y + HEADER,
      width: box.width - 2 * PADDING,
      height: box.height - HEADER - PADDING,
    };
  }

  function flatten(boxes) {
    return boxes.flatMap((box) => [box, ...flatten(box.boxes)]);
  }

  // Where a person sees a box: of a group that shows its children, only the header.
  function face(box) {
    return box.boxes.length ? { x: box.x, y: box.y, width: box.width, height: HEADER } : box;
  }

  // The nearest of the boxes on one side ("left", "right", "up", "down") of a box, undefined where there is none.
  function neighbour(boxes, box, side) {
    const from = face(box);
    let nearest;
    let least = Infinity;
    for (const other of boxes) {
      const distance = other === box ? Infinity : distanceTo(from, face(other), side);
      if (distance < least) [nearest, least] = [other, distance];
    }
    return nearest;
  }

  // How far one rectangle is from another towards a side: what lies beside counts double; infinite where it is not on that side.
  function distanceTo(from, to, side) {
    const across = side === "left" || side === "right";
    const [start, length, otherStart, otherLength] = across ? ["x", "width", "y", "height"] : ["y", "height", "x", "width"];
    const back = side === "left" || side === "up";
    const gap = back ? from[start] - (to[start] + to[length]) : to[start] - (from[start] + from[length]);
    if (gap < -1) return Infinity;
    const [middle, low, high] = [from[otherStart] + from[otherLength] / 2, to[otherStart], to[otherStart] + to[otherLength]];
    const beside = Math.max(0, low - middle, middle - high);
    return Math.max(gap, 0) + 2 * beside;
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

  return { squarify, divide, arrange, neighbour, within, around };
})();
