// Computes beside the page, so that the page stays quick. It asks only for its own model and runtime.

import { Parser } from "./parser.js";
import { deflate, encodeLabels } from "./png.js";

const there = (name) => new URL(name, import.meta.url);

async function load(name) {
  const response = await fetch(there(name)).catch(() => ({ ok: false, status: "no answer" }));
  if (!response.ok) throw new Error(`${name}: cannot be fetched (${response.status})`);
  return response;
}

async function open() {
  const about = await (await load("model.json")).json();
  const model = await (await load("model.onnx")).arrayBuffer();
  try {
    return await Parser.open(model, about);
  } catch (error) {
    throw new Error(`model.onnx: cannot be loaded (${String(error.message ?? error).split("\n")[0].slice(0, 160)})`);
  }
}

const opening = open();

/** Pixels of a photograph, upright by its EXIF orientation, with the values of its file. */
async function decode(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${file.name}: not a picture that this browser reads; choose a JPEG or PNG`);
  }
  const { height, width } = bitmap;
  try {
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, width, height);
  } catch {
    throw new Error(`${file.name}: too large for this browser; make it smaller`);
  } finally {
    bitmap.close();
  }
}

async function photograph(parser, file) {
  const pixels = await decode(file);
  const { height, width } = pixels;
  const started = performance.now();
  const { faces, ids } = await parser.parse(pixels);
  const milliseconds = Math.round(performance.now() - started);
  const counts = new Array(256).fill(0);
  for (const id of ids) counts[id]++;
  const { classes } = parser.about;
  const areas = Object.fromEntries(classes.map(({ name }, id) => [name, counts[id]]).filter(([, count]) => count));
  const palette = classes.map(({ colour }) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
  const [labels, packed] = [await encodeLabels(ids, height, width, palette), await deflate(ids)];
  return { width, height, milliseconds, areas, faces: faces && faces.length, notice: "", labels, packed, picture: null };
}

async function frame(parser, { pixels, first }) {
  const { faces, ids } = await parser.parse(pixels, { film: true, first });
  return { faces: faces && faces.length, ids };
}

let turn = Promise.resolve(); // one picture at a time

addEventListener("message", ({ data: { number, kind, content } }) => {
  turn = turn.then(async () => {
    try {
      const parser = await opening;
      const answer = kind === "open" ? null : await { photograph, frame }[kind](parser, content);
      postMessage({ number, answer });
    } catch (error) {
      postMessage({ number, error: String(error.message ?? error).split("\n")[0] });
    }
  });
});
opening.catch(() => {}); // said with the next answer
