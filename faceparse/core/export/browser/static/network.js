// The network: crops -> logits, and whole pictures -> probabilities of the parts of a face.

import * as ort from "./onnxruntime/ort.wasm.bundle.min.js";
import { cut, extend } from "./pictures.js";

const PIXELS = 16 * 128 * 128; // in one run: memory is scarce in a browser

export class Network {
  /** `data` is the content of model.onnx, `about` that of model.json. */
  static async open(data, about) {
    ort.env.logLevel = "error";
    const options = { executionProviders: ["wasm"], logSeverityLevel: 3 };
    return new Network(await ort.InferenceSession.create(data, options), about);
  }

  constructor(session, about) {
    Object.assign(this, { session, about, classes: about.classes.length });
    const finder = about.finder;
    this.sets = finder ? [...finder.parts, ...(finder.glasses.length ? [finder.glasses] : [])] : [];
  }

  /** Logits of crops of one size, one array of classes x height x width each. */
  async logits(crops) {
    const { height, width } = crops[0];
    const most = Math.max(1, Math.floor(PIXELS / (height * width)));
    const found = [];
    for (let start = 0; start < crops.length; start += most)
      found.push(...(await this.run(crops.slice(start, start + most), height, width)));
    return found;
  }

  async run(crops, height, width) {
    const { bgr, scale, shift } = this.about.input;
    const plane = height * width;
    const input = new Float32Array(3 * plane * crops.length);
    crops.forEach(({ data }, number) => {
      for (let channel = 0; channel < 3; channel++) {
        const from = bgr ? 2 - channel : channel;
        const start = (3 * number + channel) * plane;
        for (let i = 0; i < plane; i++)
          input[start + i] = Math.fround(data[3 * i + from] * scale[channel]) + shift[channel];
      }
    });
    const image = new ort.Tensor("float32", input, [crops.length, 3, height, width]);
    const answer = Object.values(await this.session.run({ image }))[0];
    image.dispose();
    const size = this.classes * plane;
    if (answer.data.length !== crops.length * size) throw new Error("model.onnx: answers with another shape");
    return crops.map((_, number) => answer.data.subarray(number * size, (number + 1) * size));
  }

  /** Probabilities of the parts, at a quarter of the pictures' size: {data, parts, height, width} of each picture. */
  async partMaps(pictures) {
    const { height, width } = pictures[0];
    const { least, most, step } = this.about.input;
    const overlap = this.about.finder.side;
    const [h, rows] = windows(height, least[0], most[0], step, overlap);
    const [w, columns] = windows(width, least[1], most[1], step, overlap);
    if (h === height && w === width) return (await this.logits(pictures)).map((logits) => this.likely(logits, h, w));
    const joined = [];
    for (const one of pictures) joined.push(await this.byWindows(one, h, rows, w, columns, overlap / 4));
    return joined;
  }

  /** The maps of a picture whose size the network does not take. Towards its border, a window counts less. */
  async byWindows(image, h, rows, w, columns, overlap) {
    const parts = this.sets.length;
    const [tall, wide] = [rows.at(-1) + h, columns.at(-1) + w].map(quarter);
    const [height, width] = [quarter(image.height), quarter(image.width)];
    const whole = extend(image, Math.max(image.height, 4 * tall), Math.max(image.width, 4 * wide));
    const [total, weight] = [new Float32Array(parts * tall * wide), new Float32Array(tall * wide)];
    const [down, along] = [ramp(quarter(h), overlap), ramp(quarter(w), overlap)];
    for (const top of rows) {
      for (const left of columns) {
        const [map] = (await this.logits([cut(whole, top, left, h, w)])).map((logits) => this.likely(logits, h, w));
        for (let y = 0; y < map.height; y++) {
          for (let x = 0; x < map.width; x++) {
            const [inner, at] = [Math.min(down[y], along[x]), ((top >> 2) + y) * wide + (left >> 2) + x];
            weight[at] += inner;
            for (let part = 0; part < parts; part++)
              total[part * tall * wide + at] += inner * map.data[(part * map.height + y) * map.width + x];
          }
        }
      }
    }
    const data = new Float32Array(parts * height * width);
    for (let part = 0, to = 0; part < parts; part++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++, to++)
          data[to] = total[(part * tall + y) * wide + x] / Math.max(weight[y * wide + x], 1e-9);
    return { data, parts, height, width };
  }

  /** Softmax of the mean of the four middle logits of each 4 x 4, summed over the classes of each part. */
  likely(logits, height, width) {
    const [h, w, classes, parts] = [quarter(height), quarter(width), this.classes, this.sets.length];
    const data = new Float32Array(parts * h * w);
    const mean = new Float64Array(classes);
    for (let y = 0, cell = 0; y < h; y++) {
      for (let x = 0; x < w; x++, cell++) {
        let largest = -Infinity;
        for (let id = 0; id < classes; id++) {
          const at = (id * height + 4 * y + 1) * width + 4 * x + 1;
          mean[id] = (logits[at] + logits[at + 1] + logits[at + width] + logits[at + width + 1]) / 4;
          largest = Math.max(largest, mean[id]);
        }
        let sum = 0;
        for (let id = 0; id < classes; id++) sum += mean[id] = Math.exp(mean[id] - largest);
        if (!(sum > 0)) throw new Error("model.onnx: answers with what is no number");
        this.sets.forEach((ids, part) => {
          for (const id of ids) data[part * h * w + cell] += mean[id] / sum;
        });
      }
    }
    return { data, parts, height: h, width: w };
  }
}

/** Cells of a side: each has its two middle pixels. */
const quarter = (side) => (side + 1) >> 2;

/** Side of the windows along a picture's side, and their starts: as few as possible, evenly spread. */
function windows(length, least, most, step, overlap) {
  const count = Math.max(1, Math.ceil((length - overlap) / (most - overlap)));
  let side = Math.ceil((length + (count - 1) * overlap) / count);
  side = Math.min(most, Math.max(least, Math.ceil(side / step) * step));
  const starts = Array.from({ length: count }, (_, k) => 4 * Math.ceil(Math.ceil(((length - side) * k) / (count - 1)) / 4));
  return [side, count > 1 ? starts : [0]];
}

/** Weights along a window's side: they rise to 1 over `rise`, and fall again. */
function ramp(length, rise) {
  const up = Math.max(Math.floor(rise), 1);
  return Float32Array.from({ length }, (_, i) => Math.min(1, (i + 1) / up, (length - i) / up));
}
