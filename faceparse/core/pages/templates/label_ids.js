"use strict";

const TILE = 64; // side of the pieces that undo keeps, pixels
const HISTORY = 64e6; // bytes of pieces that are kept; the oldest steps are forgotten first

/** The class ids of one photograph, what changes them, and the way back. No canvas touches an id. */
class Labels {
  constructor(width, height, ids, guess) {
    Object.assign(this, { width, height, ids, guess, past: [], future: [], step: null, steps: 0, forgotten: 0 });
  }

  /** Number of the last step that holds; steps that were undone give way to the numbers before. */
  get state() {
    return this.past.at(-1)?.number ?? this.forgotten;
  }

  // ------------------------------------------------------------------------------------------------ steps

  begin() {
    this.step ??= new Map();
  }

  /** End a step. Whether it changed anything. */
  end() {
    const step = this.step;
    this.step = null;
    for (const [at, before] of step ?? []) if (this.#same(at, before)) step.delete(at);
    if (!step?.size) return false;
    step.number = ++this.steps;
    this.past.push(step);
    this.future = [];
    const size = (one) => one.size * TILE * TILE;
    let bytes = this.past.reduce((sum, one) => sum + size(one), 0);
    while (bytes > HISTORY && this.past.length > 1) {
      const first = this.past.shift();
      this.forgotten = first.number;
      bytes -= size(first);
    }
    return true;
  }

  /** Take back a step that was begun. */
  cancel() {
    if (this.step) this.#swap(this.step);
    this.step = null;
  }

  undo() {
    return this.#move(this.past, this.future);
  }

  redo() {
    return this.#move(this.future, this.past);
  }

  #move(from, to) {
    if (this.step || !from.length) return false;
    const step = from.pop();
    this.#swap(step);
    to.push(step);
    return true;
  }

  #swap(step) {
    for (const [at, before] of step) {
      step.set(at, this.#tile(at));
      this.#rows(at, (start, from, to) => this.ids.set(before.subarray(from, to), start));
    }
  }

  #same(at, before) {
    let same = true;
    this.#rows(at, (start, from, to) => {
      for (let i = from; same && i < to; i++) same = before[i] === this.ids[start + i - from];
    });
    return same;
  }

  #tile(at) {
    const tile = new Uint8Array(TILE * TILE);
    this.#rows(at, (start, from, to) => tile.set(this.ids.subarray(start, start + to - from), from));
    return tile;
  }

  /** Call `each(start, from, to)` for a tile's rows: where a row starts in the ids, and its bytes in the tile. */
  #rows(at, each) {
    const across = Math.ceil(this.width / TILE);
    const left = (at % across) * TILE;
    const top = Math.floor(at / across) * TILE;
    const length = Math.min(TILE, this.width - left);
    for (let y = top; y < Math.min(top + TILE, this.height); y++)
      each(y * this.width + left, (y - top) * TILE, (y - top) * TILE + length);
  }

  /** Keep the tiles of a rectangle before its pixels change. Its right and lower ends are not in it. */
  #keep(left, top, right, bottom) {
    const across = Math.ceil(this.width / TILE);
    for (let row = Math.floor(top / TILE); row * TILE < bottom; row++)
      for (let column = Math.floor(left / TILE); column * TILE < right; column++) {
        const at = row * across + column;
        if (!this.step.has(at)) this.step.set(at, this.#tile(at));
      }
  }

  #span(y, left, right, id) {
    if (y < 0 || y >= this.height) return;
    left = Math.max(left, 0);
    right = Math.min(right, this.width);
    if (left >= right) return;
    this.#keep(left, y, right, y + 1);
    this.ids.fill(id, y * this.width + left, y * this.width + right);
  }

  // ---------------------------------------------------------------------------------------------- drawing

  /** Paint the pixels whose centres are within half a `diameter` of a line, and the pixels that the line's ends are in. */
  stroke([x0, y0], [x1, y1], diameter, id) {
    const radius = diameter / 2;
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length = dx * dx + dy * dy;
    const top = Math.max(0, Math.floor(Math.min(y0, y1) - radius));
    const bottom = Math.min(this.height, Math.ceil(Math.max(y0, y1) + radius));
    const first = Math.max(0, Math.floor(Math.min(x0, x1) - radius));
    const last = Math.min(this.width, Math.ceil(Math.max(x0, x1) + radius));
    for (let y = top; y < bottom; y++) {
      let [left, right] = [last, first]; // the shape is convex: one run a row
      for (let x = first; x < last; x++) {
        const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
        const along = length ? Math.min(1, Math.max(0, (px * dx + py * dy) / length)) : 0;
        if ((px - along * dx) ** 2 + (py - along * dy) ** 2 > radius * radius) continue;
        left = Math.min(left, x);
        right = x + 1;
      }
      this.#span(y, left, right, id);
    }
    for (const [x, y] of [[x0, y0], [x1, y1]]) this.#span(Math.floor(y), Math.floor(x), Math.floor(x) + 1, id);
  }

  /** Give the connected pixels of one class, from a pixel on, the class `id`. Pixels connect by their sides. */
  fill(x, y, id) {
    const { width, height, ids } = this;
    const old = ids[y * width + x];
    if (old === id) return;
    const seeds = [y * width + x];
    while (seeds.length) {
      const seed = seeds.pop();
      if (ids[seed] !== old) continue;
      const row = Math.floor(seed / width) * width;
      let left = seed;
      let right = seed + 1;
      while (left > row && ids[left - 1] === old) left--;
      while (right < row + width && ids[right] === old) right++;
      this.#span(row / width, left - row, right - row, id);
      for (const next of [row - width, row + width]) {
        if (next < 0 || next >= width * height) continue;
        for (let at = next + left - row; at < next + right - row; at++)
          if (ids[at] === old && (at === next + left - row || ids[at - 1] !== old)) seeds.push(at);
      }
    }
  }

  /** Give all pixels of one class another. */
  replace(old, id) {
    if (old === id) return;
    for (let at = this.ids.indexOf(old); at >= 0; at = this.ids.indexOf(old, at)) {
      const row = Math.floor(at / this.width) * this.width;
      let right = at + 1;
      while (right < row + this.width && this.ids[right] === old) right++;
      this.#span(row / this.width, at - row, right - row, id);
    }
  }

  /** Paint the pixels whose centres an odd number of a closed polygon's turns surround. */
  polygon(points, id) {
    const rows = points.map(([, y]) => y);
    const bottom = Math.min(this.height, Math.ceil(Math.max(...rows)));
    for (let y = Math.max(0, Math.floor(Math.min(...rows))); y < bottom; y++) {
      const crossings = [];
      points.forEach(([x0, y0], i) => {
        const [x1, y1] = points[(i + 1) % points.length];
        if (y0 <= y + 0.5 !== y1 <= y + 0.5) crossings.push(x0 + ((y + 0.5 - y0) / (y1 - y0)) * (x1 - x0));
      });
      crossings.sort((a, b) => a - b);
      for (let i = 0; i + 1 < crossings.length; i += 2)
        this.#span(y, Math.ceil(crossings[i] - 0.5), Math.ceil(crossings[i + 1] - 0.5), id);
    }
  }

  /** Number of pixels whose class is not the guess's. */
  corrected() {
    let count = 0;
    for (let i = 0; i < this.ids.length; i++) count += this.ids[i] !== this.guess[i];
    return count;
  }
}
