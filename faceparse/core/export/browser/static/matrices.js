// Matrices of 2 x 3 numbers, [a, b, x, c, d, y]: a point (u, v) goes to (a u + b v + x, c u + d v + y). Coordinates are
// pixel centres, as in faceparse/core/images/warp.py. Sizes are {height, width}.

export const apply = ([a, b, x, c, d, y], [u, v]) => [a * u + b * v + x, c * u + d * v + y];

/** Apply `first`, then `second`. */
export function chain([a, b, x, c, d, y], [e, f, u, g, h, v]) {
  return [e * a + f * c, e * b + f * d, e * x + f * y + u, g * a + h * c, g * b + h * d, g * x + h * y + v];
}

export function invert([a, b, x, c, d, y]) {
  const determinant = a * d - b * c;
  const [e, f, g, h] = [d, -b, -c, a].map((number) => number / determinant);
  return [e, f, -(e * x + f * y), g, h, -(g * x + h * y)];
}

/** Picture -> crop: the whole picture, widened to the crop's aspect, fills the crop. */
export function wholeMatrix(picture, crop) {
  const [height, width] = [Math.max(picture.height - 1, 1), Math.max(picture.width - 1, 1)];
  const zoom = (crop.width - 1) / Math.max(width, (height * (crop.width - 1)) / (crop.height - 1));
  const [x, y] = [(picture.width - 1) / 2, (picture.height - 1) / 2];
  return [zoom, 0, (crop.width - 1) / 2 - zoom * x, 0, zoom, (crop.height - 1) / 2 - zoom * y];
}

/** Shares of the square around a crop -> pixels of the crop. */
export function squareToCrop({ height, width }) {
  const side = Math.max(height, width);
  return [side - 1, 0, (width - side) / 2, 0, side - 1, (height - side) / 2];
}

/** Round as Python does: halves to the even number. */
export function rint(number) {
  const rounded = Math.round(number);
  return rounded - number === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}
