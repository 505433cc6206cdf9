
"use strict";
const $ = (id) => document.getElementById(id);
const model = JSON.parse($("model").textContent);

const VIEW = 2048; // longer side of what is drawn, pixels; downloads have the photograph's own
const KEPT = 12; // photographs that the user can go back to
const STRIP = 256; // rows that are painted at a time at full size

const chosen = new Set(model.classes.keys()); // ids that are switched on
chosen.delete(0); // the background stays as it is
const waiting = []; // files to be parsed
const photographs = []; // parsed ones, the newest last
let current = null; // the one that is shown
let lit = null; // id that stands out, while the pointer is on its name
let working = false;

// ------------------------------------------------------------------------------------------------ one photograph

/** Parse a file: photograph and class ids at the drawn size, and files at full size for downloads. */
async function parse(file) {
  if (file.size > model.maxBytes)
    throw new Error(`${file.name}: more than ${model.maxBytes / 1e6} MB; make it smaller`);
  const decoding = decode(file); // while the server works; shown as soon as it is ready
  decoding.then((preview) => preview && working && show({ ...preview, name: file.name }));
  const answer = await ask(file);
  const seen = answer.picture ? new Blob([answer.picture]) : file; // sent where browsers show another picture
  const preview = answer.picture ? await decode(seen) : await decoding;
  if (preview?.width !== answer.width || preview?.height !== answer.height)
    throw new Error(`${file.name}: this browser does not show it as the model saw it; save it as a JPEG`);
  const ids = sample(await inflate(answer.packed), answer, preview.view);
  const layer = surface(preview.view.width, preview.view.height);
  return { ...preview, ...answer, name: file.name, file: seen, ids, layer };
}

/** Size of a photograph, and its picture made small for drawing; null where the browser cannot read the file. */
async function decode(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return null;
  }
  const { width, height } = bitmap;
  const scale = Math.min(1, VIEW / Math.max(width, height));
  const view = surface(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  const context = view.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, view.width, view.height);
  bitmap.close();
  return { width, height, view };
}

function surface(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

async function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Class ids at the drawn size, from the nearest pixels. */
function sample(ids, { width, height }, view) {
  if (view.width === width && view.height === height) return ids;
  const columns = Uint32Array.from({ length: view.width }, (_, x) => ((x + 0.5) * width) / view.width);
  const small = new Uint8Array(view.width * view.height);
  for (let y = 0; y < view.height; y++) {
    const row = Math.floor(((y + 0.5) * height) / view.height) * width;
    for (let x = 0; x < view.width; x++) small[y * view.width + x] = ids[row + columns[x]];
  }
  return small;
}

// ------------------------------------------------------------------------------------------------------- painting

/** The colour of each id as a pixel's four bytes; transparent where it is switched off. */
function palette() {
  const table = new Uint8Array(4 * 256);
  for (const id of chosen) {
    const colour = model.classes[id].colour;
    const alpha = lit === null || lit === id ? 255 : 50;
    table.set([1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)).concat(alpha), 4 * id);
  }
  return new Uint32Array(table.buffer);
}

function colour(context, ids, table, y = 0) {
  const { width } = context.canvas;
  const data = context.createImageData(width, ids.length / width);
  const pixels = new Uint32Array(data.data.buffer);
  for (let i = 0; i < ids.length; i++) pixels[i] = table[ids[i]];
  context.putImageData(data, 0, y);
}

/** Paint the classes again, after a change of the chosen ones. */
function recolour() {
  if (current?.ids) colour(current.layer.getContext("2d"), current.ids, palette());
  draw();
}

/** Draw the photograph and its classes, after a change of the opacity. */
function draw() {
  if (!current) return;
  const context = $("picture").getContext("2d");
  context.globalAlpha = 1;
  context.clearRect(0, 0, current.view.width, current.view.height);
  context.drawImage(current.view, 0, 0);
  if (!current.ids) return;
  context.globalAlpha = $("opacity").value / 100;
  context.drawImage(current.layer, 0, 0);
}

function show(photograph) {
  current = photograph;
  document.body.classList.add("parsed");
  $("result").hidden = false;
  Object.assign($("picture"), { width: photograph.view.width, height: photograph.view.height });
  $("tip").hidden = true;
  for (const id of ["mask", "overlay", "cutout"]) $(id).disabled = !photograph.ids;
  recolour();
  list();
  if (!photograph.ids) return;
  const { name, width, height, milliseconds, areas, faces, notice } = photograph;
  const seen = faces === null ? "" : faces === 0 ? "no face found, " : faces === 1 ? "1 face, " : `${faces} faces, `;
  say(`${name}: ${width} x ${height}, ${seen}parsed in ${milliseconds} ms${notice && ` (the file ${notice})`}`);
  const found = Object.keys(areas).slice(0, 30).join(", ");
  $("picture").setAttribute("aria-label", `${name} with its classes painted over it: ${found}`);
}

/** Show each class's share of the pixels, and the photographs that the user can go back to. */
function list() {
  model.classes.forEach(({ name }, id) => {
    const row = $("legend").children[id].firstChild;
    const pixels = current.ids ? (current.areas[name] ?? 0) : null;
    row.classList.toggle("absent", pixels === 0);
    row.lastChild.textContent = pixels === null ? "" : percent(pixels / (current.width * current.height));
  });
  $("photographs").hidden = photographs.length < 2;
  $("photographs").replaceChildren(...photographs.map((one) => one.item));
  for (const one of photographs) one.item.firstChild.setAttribute("aria-current", one === current);
}

function percent(share) {
  if (share === 0) return "–";
  return share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}

function say(text) {
  $("status").textContent = text;
}

function complain(text) {
  $("problems").append(Object.assign(document.createElement("li"), { textContent: text }));
}

// -------------------------------------------------------------------------------------------- files from the user

async function take(files) {
  if (!files.length) return;
  if (!working) $("problems").replaceChildren();
  waiting.push(...files);
  if (working) return;
  working = true;
  $("busy").hidden = false;
  let last = current;
  while (waiting.length) {
    const file = waiting.shift();
    say(`Parsing ${file.name}${waiting.length ? `, ${waiting.length} more` : ""} …`);
    try {
      last = keep(await parse(file));
      show(last);
    } catch (error) {
      complain(error.message);
      say("");
    }
  }
  working = false;
  $("busy").hidden = true;
  if (last) show(last);
  else clear();
}

/** Add a photograph to those that the user can go back to. */
function keep(photograph) {
  const button = Object.assign(document.createElement("button"), { type: "button", title: photograph.name });
  const { width, height } = photograph.view;
  const scale = Math.min(1, 128 / height);
  const small = surface(Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale)));
  small.getContext("2d").drawImage(photograph.view, 0, 0, small.width, small.height);
  button.append(small);
  button.setAttribute("aria-label", `Show ${photograph.name}`);
  button.addEventListener("click", () => show(photograph));
  photograph.item = document.createElement("li");
  photograph.item.append(button);
  photographs.push(photograph);
  if (photographs.length > KEPT) photographs.shift();
  return photograph;
}

/** Show the page as it was before the first photograph. */
function clear() {
  current = null;
  document.body.classList.remove("parsed");
  $("result").hidden = true;
}

$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => {
  take([...$("files").files]);
  $("files").value = ""; // so that the same file can be chosen again
});
document.addEventListener("paste", (event) => take([...event.clipboardData.files]));

let inside = 0; // elements that a dragged file is over
const dragged = (event) => event.dataTransfer.types.includes("Files");
const hover = (change) => (event) => {
  if (!dragged(event)) return;
  event.preventDefault();
  inside = change(inside);
  $("drop").hidden = inside <= 0;
};
addEventListener("dragenter", hover((n) => n + 1));
addEventListener("dragleave", hover((n) => n - 1));
addEventListener("dragover", hover((n) => n));
addEventListener("drop", (event) => {
  hover(() => 0)(event);
  if (dragged(event)) take([...event.dataTransfer.files]);
});

// -------------------------------------------------------------------------------------------------------- the camera

const video = document.querySelector("video");
$("film").hidden = !navigator.mediaDevices?.getUserMedia;
$("film").addEventListener("click", async () => {
  $("problems").replaceChildren();
  try {
    const ideal = { width: { ideal: 1920 }, height: { ideal: 1080 } };
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: ideal });
    $("camera").showModal();
  } catch (error) {
    complain(`camera: ${error.message}; choose a photograph instead`);
  }
});
$("take").addEventListener("click", () => {
  const picture = surface(video.videoWidth, video.videoHeight);
  picture.getContext("2d").drawImage(video, 0, 0);
  const name = `camera ${new Date().toLocaleTimeString()}.jpg`;
  picture.toBlob((blob) => blob && take([new File([blob], name)]), "image/jpeg", 0.95);
  $("camera").close();
});
$("cancel").addEventListener("click", () => $("camera").close());
$("camera").addEventListener("close", () => video.srcObject.getTracks().forEach((track) => track.stop()));

// ----------------------------------------------------------------------------------------- classes and opacity

model.classes.forEach(({ name, colour }, id) => {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const parts = ["swatch", "name", "share"].map((className) =>
    Object.assign(document.createElement("span"), { className }),
  );
  parts[0].style.background = colour;
  parts[1].textContent = name;
  button.append(...parts);
  button.addEventListener("click", () => toggle([id], !chosen.has(id)));
  const light = (on) => () => {
    const before = lit;
    lit = on && chosen.has(id) ? id : null;
    if (lit !== before) recolour();
  };
  button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && light(true)());
  button.addEventListener("pointerleave", light(false));
  const item = document.createElement("li");
  item.append(button);
  $("legend").append(item);
});

function toggle(ids, on) {
  for (const id of ids) on ? chosen.add(id) : chosen.delete(id);
  lit = null;
  press();
  recolour();
}

function press() {
  [...$("legend").children].forEach((item, id) => item.firstChild.setAttribute("aria-pressed", chosen.has(id)));
}

$("all").addEventListener("click", () => toggle([...model.classes.keys()].slice(1), true));
$("none").addEventListener("click", () => toggle([...model.classes.keys()], false));
$("opacity").addEventListener("input", () => {
  $("percent").textContent = `${$("opacity").value} %`;
  draw();
});
press();

// ------------------------------------------------------------------------------- the class under the pointer

function point(event) {
  const box = $("picture").getBoundingClientRect();
  if (!current?.ids) return;
  const { width, height } = current.view;
  const x = Math.floor(((event.clientX - box.left) / box.width) * width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * height);
  if (x < 0 || y < 0 || x >= width || y >= height) return leave();
  const id = current.ids[y * width + x];
  const tip = $("tip");
  tip.hidden = false;
  tip.firstChild.style.background = model.classes[id].colour;
  tip.lastChild.textContent = model.classes[id].name;
  const stage = $("stage").getBoundingClientRect();
  const left = Math.min(event.clientX - stage.left + 14, stage.width - tip.offsetWidth - 4);
  const top = Math.max(event.clientY - stage.top - tip.offsetHeight - 8, 4);
  tip.style.transform = `translate(${Math.max(left, 4)}px, ${top}px)`;
  [...$("legend").children].forEach((item, row) => item.firstChild.classList.toggle("under", row === id));
}

function leave() {
  $("tip").hidden = true;
  for (const item of $("legend").children) item.firstChild.classList.remove("under");
}

$("picture").addEventListener("pointermove", point);
$("picture").addEventListener("pointerdown", point);
$("picture").addEventListener("pointerleave", (event) => event.pointerType === "mouse" && leave());

// --------------------------------------------------------------------------------------------------- downloads

function save(blob, { name }, suffix) {
  const stem = name.replace(/\.[^.]*$/, "") || "photograph";
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(blob),
    download: `${stem}-${suffix}`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** A picture of the photograph's own size, painted in strips by `paint(context, strip, y)`. */
async function full({ file, packed, width, height }, type, paint) {
  const [bitmap, ids] = await Promise.all([createImageBitmap(file), inflate(packed)]);
  const whole = surface(width, height);
  const context = whole.getContext("2d");
  if (!context) return null;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  lit = null;
  const table = palette();
  for (let y = 0; y < height; y += STRIP) {
    const strip = surface(width, Math.min(STRIP, height - y));
    colour(strip.getContext("2d"), ids.subarray(y * width, (y + strip.height) * width), table);
    paint(context, strip, y);
  }
  return new Promise((resolve) => whole.toBlob(resolve, type, 0.95));
}

function downloads(id, suffix, type, paint) {
  $(id).addEventListener("click", async () => {
    const photograph = current;
    $(id).disabled = true;
    const blob = await full(photograph, type, paint).catch(() => null);
    $(id).disabled = false;
    if (blob) save(blob, photograph, suffix);
    else complain(`${photograph.name}: too large for this browser to paint; 'faceparse predict' saves it`);
  });
}

$("mask").addEventListener("click", () => save(new Blob([current.labels], { type: "image/png" }), current, "labels.png"));
downloads("overlay", "overlay.jpg", "image/jpeg", (context, strip, y) => {
  context.globalAlpha = $("opacity").value / 100;
  context.drawImage(strip, 0, y);
});
downloads("cutout", "cutout.png", "image/png", (context, strip, y) => {
  context.save();
  context.beginPath();
  context.rect(0, y, strip.width, strip.height);
  context.clip(); // what lies outside the strip stays
  context.globalCompositeOperation = "destination-in";
  context.drawImage(strip, 0, y);
  context.restore();
});
