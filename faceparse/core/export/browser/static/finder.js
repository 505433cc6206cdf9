// Find faces with the network itself, as faceparse/core/faces/finder.py does: the whole picture is parsed at a few
// scales; proposals from all scales are cropped, parsed, aligned by the parts in the crop, and scored.

import { rint } from "./matrices.js";
import { minus, over, plus, size, times } from "./parts.js";
import { areas, extend, halves, neighbours, resize, warp } from "./pictures.js";

const BATCH = 16;

export class FaceFinder {
  constructor(network, parts, about) {
    Object.assign(this, { network, parts, options: about.finder, step: about.input.step });
  }

  /** The faces of a picture, best first: {matrix, score}. The matrix is picture -> shares of the crop's side. */
  async find(image) {
    return this.refine(image, await this.proposals(image));
  }

  /** The faces of the previous frame in this one. */
  async follow(image, faces) {
    return this.refine(image, faces.map(({ matrix: [c, , x, s, , y] }) => {
      const a = over([1, 0], [c, s]);
      return { a, b: times([-x, -y], a) };
    }));
  }

  async proposals(image) {
    const { side, candidates, rules } = this.options;
    const found = [];
    for (const wanted of this.sides(image)) {
      const { picture, scale } = this.resized(image, side / wanted);
      const [maps] = await this.network.partMaps([picture]);
      const stride = picture.width / maps.width;
      for (const { a, b, support } of this.parts.propose(maps, side / stride))
        found.push({ ...rescaled({ a, b }, stride / scale), support });
    }
    found.sort((p, q) => q.support - p.support);
    return this.parts.merge(found, rules.apartAcrossScales).slice(0, candidates);
  }

  /** The faces among proposals. Each is aligned by the parts in its crop, three times. */
  async refine(image, proposals) {
    const { crop, closer, threshold, most, rules } = this.options;
    const pyramid = halves(image);
    let views = proposals;
    for (const [least, side] of [...rules.firstLooks.map((one) => [one, crop]), [threshold, closer]]) {
      views = (await this.lookedAt(pyramid, views, side)).filter(({ score }) => score >= least);
      views = this.parts.merge(views.sort((p, q) => q.score - p.score), rules.apart);
    }
    return views.slice(0, most).map(({ a, b, score }) => {
      const [c, s] = over([1, 0], a);
      const [x, y] = over(minus([0, 0], b), a);
      return { matrix: [c, -s, x, s, c, y], score };
    });
  }

  async lookedAt(pyramid, proposals, side) {
    const views = [];
    for (let start = 0; start < proposals.length; start += BATCH) {
      const some = proposals.slice(start, start + BATCH);
      const maps = await this.network.partMaps(some.map((one) => crop(pyramid, one, side)));
      some.forEach(({ a, b }, i) => {
        const step = this.parts.fit(this.parts.measure(maps[i], side));
        views.push({ a: times(a, step.a), b: plus(times(a, step.b), b), score: step.score });
      });
    }
    return views;
  }

  /** Sides of the wanted crops, in pixels of the picture. */
  sides({ height, width }) {
    const { minFace, step, rules } = this.options;
    const smallest = Math.max((minFace * height) / rules.faceShare, rules.smallest) * step ** 0.5;
    const largest = Math.max(height, width);
    const count = Math.max(1, Math.ceil(Math.log(largest / smallest) / Math.log(step)) + 1);
    return Array.from({ length: count }, (_, k) => largest / step ** k);
  }

  /** The picture at `zoom`, with black up to multiples of the network's step, and the exact zoom. */
  resized(image, zoom) {
    const [height, width] = [image.height, image.width].map((side) => Math.max(1, rint(side * zoom)));
    const small = resize(image, height, width, zoom < 1 ? areas : neighbours);
    const [tall, wide] = [height, width].map((side) => Math.ceil(side / this.step) * this.step);
    return { picture: extend(small, tall, wide), scale: width / image.width };
  }
}

/** A proposal for a picture `factor` times as large. The corners coincide, not the first pixels' centres. */
function rescaled({ a, b }, factor) {
  return { a: a.map((number) => number * factor), b: b.map((number) => (number + 0.5) * factor - 0.5) };
}

/** Crop of a proposal, from the level whose pixels are nearest in size to the crop's. */
function crop(pyramid, proposal, side) {
  const level = Math.min(pyramid.length - 1, Math.max(0, rint(Math.log2(size(proposal.a) / side))));
  const { a, b } = rescaled(proposal, pyramid[level].width / pyramid[0].width);
  const [c, s] = a.map((number) => number / (side - 1));
  return warp(pyramid[level], [c, -s, b[0], s, c, b[1]], side, side);
}

/** Faces of a film: followed from frame to frame, with a new search now and then. */
export class FaceTracker {
  constructor(finder, searchEvery) {
    Object.assign(this, { finder, searchEvery, faces: [], age: 0 });
  }

  async find(image) {
    this.age++;
    if (this.faces.length && this.age < this.searchEvery) {
      const followed = await this.finder.follow(image, this.faces);
      if (followed.length === this.faces.length) return (this.faces = followed);
    }
    if (this.faces.length || this.age === 1 || this.age >= this.searchEvery) {
      this.faces = await this.finder.find(image);
      this.age = 1;
    }
    return this.faces;
  }
}
