// Crops that the network sees of a picture, and the way back to it, as faceparse/core/faces/crops.py has them.

import { apply, chain, invert, squareToCrop, wholeMatrix } from "./matrices.js";
import { warp } from "./pictures.js";

/** Crops of each face, or of the whole picture where `faces` is null: {image, matrix, area, face, wide}. */
export function cropPicture(image, faces, { input, crops: rules }) {
  const [height, width] = input.size;
  const whole = wholeMatrix(image, { height, width });
  const view = (matrix, others) => ({ image: warp(image, invert(matrix), height, width), matrix, ...others });
  if (faces === null) return [view(whole, { area: image.width * image.height, face: 0, wide: false })];
  const made = [];
  faces.forEach((one, face) => {
    let matrix = chain(one.matrix, squareToCrop({ height, width }));
    const corners = cornersOf(image);
    const apart = corners.flatMap((corner) => apply(matrix, corner).map((p, axis) => p - apply(whole, corner)[axis]));
    if (Math.max(...apart.map(Math.abs)) < rules.sameView * Math.max(height, width)) matrix = whole;
    const area = boxArea(one.matrix, rules.box);
    made.push(view(matrix, { area, face, wide: false }));
    const moved = corners.map((corner) => apply(matrix, corner));
    if (moved.every(([x, y]) => x > -1 && y > -1 && x < width && y < height)) return; // it shows all of the picture
    const [x, y, zoom] = [(width - 1) / 2, (height - 1) / 2, 1 / rules.wider];
    const wider = chain(matrix, [zoom, 0, x - x * zoom, 0, zoom, y - y * zoom]);
    made.push(view(wider, { area, face, wide: true }));
  });
  return made;
}

/** Centres of the picture's corner pixels. */
function cornersOf({ height, width }) {
  return [[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]];
}

/** Pixels of the box around a face, hairline to chin. */
function boxArea(matrix, [[left, top], [right, bottom]]) {
  const back = invert(matrix);
  const corners = [[left, top], [right, top], [left, bottom], [right, bottom]].map((corner) => apply(back, corner));
  const length = (axis) => Math.max(...corners.map((p) => p[axis])) - Math.min(...corners.map((p) => p[axis]));
  return length(0) * length(1);
}

/** Towards the border of an aligned crop, its logits turn into those of the wider crop, which sees what is beyond. */
export function settle(answers, crops, classes, seam) {
  const wider = new Map(crops.map((crop, i) => [crop.face, i]).filter(([, i]) => crops[i].wide));
  return answers.map((answer, i) => {
    const crop = crops[i];
    if (crop.wide || !wider.has(crop.face)) return answer;
    const j = wider.get(crop.face);
    const { height, width } = crop.image;
    const toWide = chain(invert(crop.matrix), crops[j].matrix);
    const settled = answer.slice();
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const inside = Math.min(Math.min(x, width - 1 - x) / (seam * width), Math.min(y, height - 1 - y) / (seam * height));
        if (inside >= 1) continue;
        const four = around(...apply(toWide, [x, y]), height, width, false);
        for (let id = 0; id < classes; id++) {
          const plane = id * height * width;
          const other = four.reduce((sum, [cell, weight]) => sum + weight * answers[j][plane + cell], 0);
          settled[plane + at] += (1 - inside) * (other - settled[plane + at]);
        }
      }
    }
    return settled;
  });
}

/** The four cells around a place, with their weights. Beyond the border its cells repeat, or there is nothing. */
function around(x, y, height, width, repeat) {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const four = [];
  for (const [row, down] of [[top, 1 - y + top], [top + 1, y - top]]) {
    for (const [column, right] of [[left, 1 - x + left], [left + 1, x - left]]) {
      const [r, c] = [Math.min(height - 1, Math.max(0, row)), Math.min(width - 1, Math.max(0, column))];
      if (repeat || (r === row && c === column)) four.push([r * width + c, down * right]);
    }
  }
  return four;
}

/** Class ids of a picture from the settled logits of its crops. Background replaces no class, except that of a wider
 * crop of the same face. `clear` says where the picture is transparent, or is null. */
export function paste(answers, crops, { height, width }, classes, clear) {
  const labels = new Uint8Array(height * width);
  const aligned = new Map(crops.filter((crop) => !crop.wide).map((crop) => [crop.face, crop]));
  const order = [...crops.keys()].sort(
    (i, j) => crops[j].wide - crops[i].wide || crops[i].area - crops[j].area,
  );
  for (const i of order) {
    const [a, b, u, c, d, v] = crops[i].matrix;
    const inner = crops[i].wide && shows(aligned.get(crops[i].face));
    const find = enlarged(answers[i], crops[i].image, classes);
    const { top, bottom, left, right } = region(crops[i], height, width);
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const id = find(a * x + b * y + u, c * x + d * y + v);
        if (id && !(inner && inner(x, y))) labels[y * width + x] = id;
      }
    }
  }
  if (clear) for (let i = 0; i < labels.length; i++) if (clear[i]) labels[i] = 0;
  return labels;
}

const isInside = (x, y, { height, width }) => x > -0.5 && y > -0.5 && x < width - 0.5 && y < height - 0.5;

/** Function that says whether a crop shows a pixel of the picture. */
function shows({ image, matrix: [a, b, u, c, d, v] }) {
  return (x, y) => isInside(a * x + b * y + u, c * x + d * y + v, image);
}

/** Function from a place in a crop to its class: the largest of the bilinear logits; 0 outside the crop. */
function enlarged(logits, image, classes) {
  const { height, width } = image;
  const plane = height * width;
  const ids = new Uint8Array(plane);
  for (let i = 0; i < plane; i++)
    for (let id = 1; id < classes; id++) if (logits[id * plane + i] > logits[ids[i] * plane + i]) ids[i] = id;
  return (x, y) => {
    if (!isInside(x, y, image)) return 0;
    const [left, top] = [Math.max(0, Math.floor(x)), Math.max(0, Math.floor(y))];
    const first = ids[top * width + left];
    const [right, below] = [Math.min(width - 1, left + 1), Math.min(height - 1, top + 1)];
    if (first === ids[top * width + right] && first === ids[below * width + left] && first === ids[below * width + right])
      return first; // a class that wins in all four logits wins between them, too
    const four = around(x, y, height, width, true);
    let [best, most] = [0, -Infinity];
    for (let id = 0; id < classes; id++) {
      let value = 0;
      for (const [cell, weight] of four) value += weight * logits[id * plane + cell];
      if (value > most) [best, most] = [id, value];
    }
    return best;
  };
}

/** The part of the picture that a crop shows. */
function region({ image, matrix }, height, width) {
  const [right, bottom] = [image.width - 0.5, image.height - 0.5];
  const corners = [[-0.5, -0.5], [right, -0.5], [-0.5, bottom], [right, bottom]].map((p) => apply(invert(matrix), p));
  const span = (axis, length) => {
    const along = corners.map((corner) => corner[axis]);
    const low = Math.min(length, Math.max(0, Math.floor(Math.min(...along))));
    return [low, Math.min(length, Math.max(low, Math.ceil(Math.max(...along)) + 1))];
  };
  const [[left, end], [top, last]] = [span(0, width), span(1, height)];
  return { left, right: end, top, bottom: last };
}
