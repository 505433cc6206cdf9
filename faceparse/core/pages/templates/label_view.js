const $ = (id) => document.getElementById(id);
const model = JSON.parse($("model").textContent);
const MOST = 40; // screen pixels that a pixel of the photograph is drawn with at most

/** Where the photograph lies in the canvas, and how it is drawn. Positions are the canvas's CSS pixels. */
const view = { scale: 1, left: 0, top: 0, opacity: 0.55, hidden: false, peek: false };
const layer = document.createElement("canvas");
let drawn = 0; // the frame that is asked for

/** The colour of each id as a pixel's four bytes. The background is transparent. */
const colours = new Uint32Array(256);
for (const { id, colour } of model.classes.slice(1)) {
  const bytes = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  colours[id] = new Uint32Array(Uint8Array.of(...bytes, 255).buffer)[0];
}

/** Draw again before the next frame. `marks(context, ratio)` draws what lies over the classes. */
function draw() {
  drawn ||= requestAnimationFrame(() => {
    drawn = 0;
    paint();
  });
}

function paint() {
  const canvas = $("picture");
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.clearRect(0, 0, width, height);
  if (!opened) return;
  const scale = view.scale * ratio;
  const [left, top] = [view.left * ratio, view.top * ratio];
  const [x0, y0] = [Math.max(0, Math.ceil(left)), Math.max(0, Math.ceil(top))];
  const x1 = Math.min(width, Math.floor(left + opened.labels.width * scale));
  const y1 = Math.min(height, Math.floor(top + opened.labels.height * scale));
  if (x1 > x0 && y1 > y0) {
    context.imageSmoothingEnabled = scale < 3;
    const seen = [(x0 - left) / scale, (y0 - top) / scale, (x1 - x0) / scale, (y1 - y0) / scale];
    context.drawImage(opened.bitmap, ...seen, x0, y0, x1 - x0, y1 - y0);
    if (!view.hidden) {
      classes(x0, y0, x1, y1, left, top, scale);
      context.globalAlpha = view.opacity;
      context.drawImage(layer, 0, 0, x1 - x0, y1 - y0, x0, y0, x1 - x0, y1 - y0);
      context.globalAlpha = 1;
    }
  }
  marks(context, ratio);
}

/** Paint the classes of a rectangle of the canvas, from the nearest pixels. Memory is the screen's, not the photograph's. */
function classes(x0, y0, x1, y1, left, top, scale) {
  const { width, height } = opened.labels;
  const ids = view.peek ? opened.labels.guess : opened.labels.ids;
  if (layer.width < x1 - x0) layer.width = x1 - x0;
  if (layer.height < y1 - y0) layer.height = y1 - y0;
  const context = layer.getContext("2d");
  const data = context.createImageData(x1 - x0, y1 - y0);
  const pixels = new Uint32Array(data.data.buffer);
  const columns = Uint32Array.from({ length: x1 - x0 }, (_, x) => Math.min(width - 1, (x0 + x + 0.5 - left) / scale));
  let at = 0;
  for (let y = y0; y < y1; y++) {
    const row = Math.min(height - 1, Math.floor((y + 0.5 - top) / scale)) * width;
    for (let x = 0; x < columns.length; x++, at++) {
      const id = ids[row + columns[x]];
      pixels[at] = id !== model.ignored ? colours[id] : ((x + x0) >> 2) + (y >> 2) & 1 ? 0xffffffff : 0xff000000;
    }
  }
  context.putImageData(data, 0, 0);
}

/** The point of the photograph under a point of the canvas, in the photograph's pixels. */
function place([x, y]) {
  return [(x - view.left) / view.scale, (y - view.top) / view.scale];
}

/** Show all of the photograph. */
function fit() {
  if (!opened) return;
  const { clientWidth, clientHeight } = $("picture");
  const { width, height } = opened.labels;
  view.scale = Math.min(clientWidth / width, clientHeight / height, MOST);
  move((clientWidth - width * view.scale) / 2, (clientHeight - height * view.scale) / 2);
}

/** Change the scale; the point under `[x, y]` stays there. */
function zoom(factor, [x, y] = [$("picture").clientWidth / 2, $("picture").clientHeight / 2]) {
  if (!opened) return;
  const { clientWidth, clientHeight } = $("picture");
  const least = Math.min(clientWidth / opened.labels.width, clientHeight / opened.labels.height, 1) / 2;
  const scale = Math.min(MOST, Math.max(least, view.scale * factor));
  const grown = scale / view.scale;
  view.scale = scale;
  move(x - (x - view.left) * grown, y - (y - view.top) * grown);
}

/** Move the photograph. Some of it stays in sight. */
function move(left, top) {
  if (!opened) return;
  const { clientWidth, clientHeight } = $("picture");
  const [width, height] = [opened.labels.width * view.scale, opened.labels.height * view.scale];
  view.left = Math.min(clientWidth - Math.min(40, width), Math.max(Math.min(40, width) - width, left));
  view.top = Math.min(clientHeight - Math.min(40, height), Math.max(Math.min(40, height) - height, top));
  draw();
}
