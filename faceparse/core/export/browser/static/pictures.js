// Pictures are {data, height, width}, with three bytes (RGB) a pixel.

export const picture = (height, width) => ({ data: new Uint8Array(3 * height * width), height, width });

/** Cells that become one cell of a smaller side: mean of what it covers (OpenCV's INTER_AREA). */
export function areas(from, to) {
  const scale = from / to;
  return spans(to, (i) => {
    const [start, end] = [i * scale, Math.min(from, (i + 1) * scale)];
    const first = Math.min(from - 1, Math.floor(start + 1e-9));
    const count = Math.max(1, Math.ceil(end - 1e-9) - first);
    const covered = Array.from({ length: count }, (_, k) => Math.min(end, first + k + 1) - Math.max(start, first + k));
    return [first, covered.map((share) => share / (end - start))];
  });
}

/** The two neighbours of a cell of a larger side (OpenCV's INTER_LINEAR). */
export function neighbours(from, to) {
  return spans(to, (i) => {
    const place = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
    const first = Math.floor(place);
    return [first, first + 1 < from ? [1 - place + first, place - first] : [1]];
  });
}

/** For each new cell, its first old cell and where its weights begin in one list: flat, for they are read often. */
function spans(to, span) {
  const [first, begin, weights] = [new Int32Array(to), new Int32Array(to + 1), []];
  for (let i = 0; i < to; i++) {
    const [start, some] = span(i);
    first[i] = start;
    weights.push(...some);
    begin[i + 1] = weights.length;
  }
  return { first, begin, weights: Float32Array.from(weights) };
}

/** A picture at another size. `cells` is `areas` or `neighbours`. */
export function resize(image, height, width, cells) {
  const [rows, columns] = [cells(image.height, height), cells(image.width, width)];
  const made = picture(height, width);
  const narrowed = new Map(); // source rows at the new width: two new rows may share one
  const sums = new Float32Array(3 * width);
  for (let y = 0; y < height; y++) {
    sums.fill(0.5); // to round
    const count = rows.begin[y + 1] - rows.begin[y];
    for (let k = 0; k < count; k++) {
      const [from, weight] = [rows.first[y] + k, rows.weights[rows.begin[y] + k]];
      if (!narrowed.has(from)) narrowed.set(from, narrow(image, from, columns, width));
      const values = narrowed.get(from);
      for (let i = 0; i < sums.length; i++) sums[i] += weight * values[i];
    }
    made.data.set(sums, 3 * width * y);
    for (const known of narrowed.keys()) if (known < rows.first[y] + count - 1) narrowed.delete(known);
  }
  return made;
}

function narrow({ data, width }, y, { first, begin, weights }, to) {
  const values = new Float32Array(3 * to);
  for (let x = 0; x < to; x++) {
    let [red, green, blue] = [0, 0, 0];
    for (let k = begin[x], at = 3 * (y * width + first[x]); k < begin[x + 1]; k++, at += 3) {
      red += weights[k] * data[at];
      green += weights[k] * data[at + 1];
      blue += weights[k] * data[at + 2];
    }
    values[3 * x] = red;
    values[3 * x + 1] = green;
    values[3 * x + 2] = blue;
  }
  return values;
}

/** The picture with black below and at the right. */
export function extend(image, height, width) {
  const made = picture(height, width);
  for (let y = 0; y < image.height; y++)
    made.data.set(image.data.subarray(3 * y * image.width, 3 * (y + 1) * image.width), 3 * y * width);
  return made;
}

/** A part of the picture. */
export function cut(image, top, left, height, width) {
  const made = picture(height, width);
  for (let y = 0; y < height; y++) {
    const start = 3 * ((top + y) * image.width + left);
    made.data.set(image.data.subarray(start, start + 3 * width), 3 * y * width);
  }
  return made;
}

/** The picture, its half, its quarter and so on, as far as a face could need them. */
export function halves(image) {
  const pyramid = [image];
  for (let last = image; Math.min(last.height, last.width) >= 128; pyramid.push(last))
    last = resize(last, Math.floor(last.height / 2), Math.floor(last.width / 2), areas);
  return pyramid;
}

/** A crop of the picture, bilinear, black outside. `matrix` goes from the crop to the picture. */
export function warp(image, [a, b, u, c, d, v], height, width) {
  const made = picture(height, width);
  const stride = 3 * image.width;
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      const [px, py] = [a * x + b * y + u, c * x + d * y + v];
      const [left, top] = [Math.floor(px), Math.floor(py)];
      if (left < -1 || top < -1 || left >= image.width || top >= image.height) continue;
      const [right, below] = [px - left, py - top];
      const at = top * stride + 3 * left;
      const [hasLeft, hasRight] = [left >= 0, left + 1 < image.width];
      const [hasTop, hasBelow] = [top >= 0, top + 1 < image.height];
      for (let channel = 0; channel < 3; channel++) {
        const from = at + channel;
        const upper =
          hasTop && (hasLeft ? (1 - right) * image.data[from] : 0) + (hasRight ? right * image.data[from + 3] : 0);
        const lower =
          hasBelow &&
          (hasLeft ? (1 - right) * image.data[from + stride] : 0) +
            (hasRight ? right * image.data[from + stride + 3] : 0);
        made.data[to + channel] = (1 - below) * upper + below * lower + 0.5;
      }
    }
  }
  return made;
}
