// Where the parts of a face lie, by the network's probabilities: proposals in a whole picture, and measures in a crop.
// The same as faceparse/core/faces/candidates.py and measure.py, with their constants (`rules`) from model.json.
//
// A proposal {a, b} is a similarity: the point z of a crop, in shares of its side, lies at a z + b. All are complex
// numbers, [real, imaginary].

import { rint } from "./matrices.js";

export const plus = ([a, b], [c, d]) => [a + c, b + d];
export const minus = ([a, b], [c, d]) => [a - c, b - d];
export const times = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];
export const over = ([a, b], [c, d]) => times([a, b], [c / (c * c + d * d), -d / (c * c + d * d)]);
export const size = ([a, b]) => Math.hypot(a, b);

const sumOf = (numbers) => numbers.reduce((sum, number) => sum + number, 0);
const best3 = (four) => [...four].sort((p, q) => p - q).slice(1);

export class Parts {
  constructor({ geometry, parts, rules }) {
    Object.assign(this, { rules, areas: geometry.areas, template: geometry.centres, count: parts.length });
    this.middle = [0, 1].map((axis) => sumOf(this.template.map((point) => point[axis])) / this.count);
  }

  // ---------------------------------------------------------------------------------------- in a whole picture

  /** Proposals in maps of a picture, best first, each with its support. `side` is that of the wanted crop. */
  propose(maps, side) {
    const { rules, template, count } = this;
    const planes = Array.from({ length: maps.parts }, (_, part) => plane(maps, part));
    const peaks = planes.slice(0, count).map((one) => this.peaks(one, rules.blur * side));
    const reach = rint(rules.reach * side);
    const near = planes.slice(0, count).map((one, part) => {
      const seen = part < rules.eyes && planes[count] ? larger(one, planes[count]) : one;
      return dilate(seen, reach);
    });
    const found = [];
    for (let i = 0; i < count; i++) {
      for (let j = i + 1; j < count; j++) {
        const apart = minus(template[j], template[i]);
        for (const first of peaks[i]) {
          for (const second of peaks[j]) {
            const a = over(minus(second, first), apart);
            const length = size(a);
            if (length <= rules.sizes[0] * side || length >= rules.sizes[1] * side) continue;
            if (Math.abs(Math.atan2(a[1], a[0])) >= rules.maxAngle) continue;
            const b = minus(first, times(a, template[i]));
            const support = this.support(near, a, b);
            if (support >= rules.minSupport) found.push({ a, b, support });
          }
        }
      }
    }
    return this.merge(found.sort((p, q) => q.support - p.support), rules.apart);
  }

  /** Mean of the three largest probabilities of the parts at their expected places. */
  support(near, a, b) {
    const seen = this.template.map((point, part) => {
      const [x, y] = plus(times(a, point), b).map(rint);
      const { data, height, width } = near[part];
      return x >= 0 && x < width && y >= 0 && y < height ? data[y * width + x] : 0;
    });
    return sumOf(best3(seen)) / 3;
  }

  /** Without those that a better proposal covers: its middle is within `apart` of the side. Best first. */
  merge(proposals, apart) {
    const kept = [];
    for (const one of proposals) {
      const [middle, side] = [plus(times(one.a, this.middle), one.b), size(one.a)];
      if (kept.every((better) => size(minus(middle, better.middle)) > apart * Math.max(side, better.side)))
        kept.push({ one, middle, side });
    }
    return kept.map(({ one }) => one);
  }

  /** Places of the highest peaks of a map: each the centroid of the 3 x 3 cells around it. */
  peaks(map, sigma) {
    const { height, width } = map;
    const { data } = blur(map, Math.max(sigma, this.rules.leastBlur));
    const [around, seen] = [dilate({ data, height, width }, 1).data, dilate(map, 1).data];
    const found = [];
    for (let i = 0; i < data.length; i++)
      if (data[i] === around[i] && data[i] > this.rules.minPeak / 2 && seen[i] > this.rules.minPeak) found.push(i);
    found.sort((p, q) => data[q] - data[p]);
    return found.slice(0, this.rules.maxPeaks).map((i) => {
      const [x, y] = [i % width, Math.floor(i / width)];
      let [total, right, down] = [0, 0, 0];
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          const row = Math.min(height - 1, Math.max(0, y + dy));
          const value = data[row * width + Math.min(width - 1, Math.max(0, x + dx))];
          total += value;
          right += dx * value;
          down += dy * value;
        }
      }
      return [x + right / total, y + down / total];
    });
  }

  // ---------------------------------------------------------------------------------------- in the crop of a face

  /** Centres of the parts in a crop of `side` pixels, in shares of the side, and the evidence of each, 0 to 1. */
  measure(maps, side) {
    const eyes = this.rules.eyes;
    const places = { x: this.places(maps.width, maps.width, side), y: this.places(maps.height, maps.width, side) };
    const found = this.template.map((_, part) => this.lookedFor(plane(maps, part), places, part));
    if (maps.parts === this.count) return found;
    const glasses = plane(maps, this.count);
    return found.map((eye, part) => {
      if (part >= eyes) return eye;
      const hidden = this.lookedFor(glasses, places, part);
      hidden.evidence *= this.rules.glasses;
      return hidden.evidence > eye.evidence ? hidden : eye;
    });
  }

  places(length, across, side) {
    return Float64Array.from({ length }, (_, i) => (((i + 0.5) * side) / across - 0.5) / (side - 1));
  }

  lookedFor({ data, height, width }, places, part) {
    const { around, enough } = this.rules;
    const [right, down] = this.template[part];
    const weight = (values, middle) => values.map((value) => Math.exp(-((value - middle) ** 2) / (2 * around ** 2)));
    const [columns, rows] = [weight(places.x, right), weight(places.y, down)];
    let [mass, x, y, sure] = [0, 0, 0, 0];
    for (let row = 0, i = 0; row < height; row++) {
      for (let column = 0; column < width; column++, i++) {
        const weighed = data[i] * rows[row] * columns[column];
        mass += weighed;
        x += weighed * places.x[column];
        y += weighed * places.y[row];
        sure += weighed * data[i];
      }
    }
    const total = Math.max(mass, 1e-9);
    const many = Math.min(1, mass / (height * width) / (enough * this.areas[part]));
    return { centre: [x / total, y / total], evidence: (sure / total) * many };
  }

  /** Similarity that moves the template nearest to the measured centres, weighted by evidence, and its score. */
  fit(measured) {
    const { minEvidence, leastScale, distance } = this.rules;
    const none = { a: [1, 0], b: [0, 0], score: 0 };
    let weights = measured.map(({ evidence }) => evidence ** 2 + 1e-6);
    const sum = sumOf(weights);
    weights = weights.map((weight) => weight / sum);
    const centres = measured.map(({ centre }) => centre);
    const mean = (points) => [0, 1].map((axis) => sumOf(points.map((point, i) => weights[i] * point[axis])));
    const [meanT, meanC] = [mean(this.template), mean(centres)];
    const t = this.template.map((point) => minus(point, meanT));
    const c = centres.map((point) => minus(point, meanC));
    const spread = sumOf(t.map((point, i) => weights[i] * size(point) ** 2));
    const a = mean(t.map(([x, y], i) => times([x, -y], c[i]))).map((number) => number / spread);
    const b = minus(meanC, times(a, meanT));
    const left = this.template.map((point, i) => weights[i] * size(minus(plus(times(a, point), b), centres[i])) ** 2);
    const best = best3(measured.map(({ evidence }) => evidence));
    if (best[0] < minEvidence || size(a) < leastScale || Math.abs(Math.atan2(a[1], a[0])) > Math.PI / 2) return none;
    return { a, b, score: sumOf(best) / 3 - distance * Math.sqrt(sumOf(left)) };
  }
}

// ------------------------------------------------------------------------------------------------------------ maps

function plane({ data, height, width }, part) {
  return { data: data.subarray(part * height * width, (part + 1) * height * width), height, width };
}

function larger(one, other) {
  return { ...one, data: one.data.map((value, i) => Math.max(value, other.data[i])) };
}

/** The largest value within `reach` cells, in a square. */
function dilate({ data, height, width }, reach) {
  const along = (from, count, length, step, next) => {
    const to = new Float32Array(from.length);
    for (let line = 0; line < count; line++) {
      for (let i = 0; i < length; i++) {
        let most = -Infinity;
        for (let k = Math.max(0, i - reach); k <= Math.min(length - 1, i + reach); k++)
          most = Math.max(most, from[line * next + k * step]);
        to[line * next + i * step] = most;
      }
    }
    return to;
  };
  return { data: along(along(data, height, width, 1, width), width, height, width, 1), height, width };
}

/** Gaussian blur as OpenCV's: beyond the border, the map is mirrored around its last cell. */
function blur({ data, height, width }, sigma) {
  const reach = (rint(8 * sigma + 1) | 1) >> 1;
  const bell = Float64Array.from({ length: 2 * reach + 1 }, (_, k) => Math.exp(-((k - reach) ** 2) / (2 * sigma ** 2)));
  const sum = sumOf([...bell]);
  const mirrored = (i, length) => {
    for (; i < 0 || i >= length; ) i = length === 1 ? 0 : i < 0 ? -i : 2 * length - 2 - i;
    return i;
  };
  const along = (from, count, length, step, next) => {
    const to = new Float32Array(from.length);
    for (let line = 0; line < count; line++) {
      for (let i = 0; i < length; i++) {
        let total = 0;
        for (let k = -reach; k <= reach; k++) total += bell[k + reach] * from[line * next + mirrored(i + k, length) * step];
        to[line * next + i * step] = total / sum;
      }
    }
    return to;
  };
  return { data: along(along(data, height, width, 1, width), width, height, width, 1), height, width };
}
