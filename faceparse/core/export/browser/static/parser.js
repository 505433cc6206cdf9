// A photograph or a camera's frame -> its faces and class ids, as `faceparse predict` computes them.

import { cropPicture, paste, settle } from "./crops.js";
import { FaceFinder, FaceTracker } from "./finder.js";
import { Network } from "./network.js";
import { Parts } from "./parts.js";
import { picture } from "./pictures.js";

export class Parser {
  /** `model` is the content of model.onnx, `about` that of model.json. */
  static async open(model, about) {
    return new Parser(await Network.open(model, about), about);
  }

  constructor(network, about) {
    Object.assign(this, { network, about });
    this.finder = about.finder ? new FaceFinder(network, new Parts(about.finder), about) : null;
    this.tracker = null;
  }

  /** Parse pixels as a canvas has them (RGBA). `frame` says what follows: a photograph alone, or a film's frame. */
  async parse({ data, height, width }, { film = false, first = true } = {}) {
    const { image, clear } = overMean(data, height, width, this.about.meanColour);
    if (film && first) this.tracker = this.finder && new FaceTracker(this.finder, this.about.finder.searchEvery);
    const finder = film ? this.tracker : this.finder;
    const faces = finder ? await finder.find(image) : null;
    const crops = cropPicture(image, faces, this.about);
    const answers = crops.length ? await this.network.logits(crops.map((crop) => crop.image)) : [];
    const classes = this.about.classes.length;
    const settled = settle(answers, crops, classes, this.about.crops.seam);
    return { faces, ids: paste(settled, crops, { height, width }, classes, clear) };
  }
}

/** The picture over one colour where it is transparent, and where nothing of it can be seen (null: everywhere). */
function overMean(data, height, width, colour) {
  const image = picture(height, width);
  let clear = null;
  for (let i = 0; i < height * width; i++) {
    const alpha = data[4 * i + 3];
    for (let channel = 0; channel < 3; channel++) {
      const value = data[4 * i + channel];
      image.data[3 * i + channel] =
        alpha === 255 ? value : Math.floor((value * alpha + colour[channel] * (255 - alpha) + 127) / 255);
    }
    if (alpha === 0) (clear ??= new Uint8Array(height * width))[i] = 1;
  }
  return { image, clear };
}
