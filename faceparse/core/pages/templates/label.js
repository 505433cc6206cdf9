const IDLE = 60e3; // milliseconds without an input after which nobody is working
const NEAR = 12; // pixels of the screen within which a click closes a polygon

let photographs = []; // as the server describes them
let opened = null; // the photograph in work: its entry, labels, bitmap, version, base, clean, worked
let tool = "brush";
let chosen = model.classes[1].id; // the class to paint with
let diameter = 20; // of the brush, in the photograph's pixels
let busy = false; // a photograph is opened or saved
const passed = new Set(); // keys of photographs that were left without a label
let points = []; // of the polygon in work
let pointer = null; // where it is in the canvas
let spaced = false; // the space bar is down

// ----------------------------------------------------------------------------------------------- the server

/** Ask the server. Errors have its line, and its answer. */
async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer; start 'faceparse web --label' again. What you painted is still here");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({ error: `the server answers ${response.status}; try again` }));
  throw Object.assign(new Error(answer.error), { answer });
}

async function stream(data, kind) {
  return new Uint8Array(await new Response(new Blob([data]).stream().pipeThrough(kind)).arrayBuffer());
}

function unpack(text) {
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return stream(packed, new DecompressionStream("deflate"));
}

/** Read the list of photographs, and again while guesses are made. */
async function refresh() {
  clearTimeout(refresh.timer);
  const answer = await (await ask("photographs")).json();
  photographs = answer.photographs;
  if (opened) opened.entry = photographs.find(({ key }) => key === opened.entry.key) ?? opened.entry;
  list(answer.notes);
  const waiting = photographs.some((one) => !one.labelled && one.uncertainty === null && !one.problem);
  if (waiting) refresh.timer = setTimeout(() => refresh().catch(() => {}), 2000);
}

/** Open a photograph. Whether it could be opened. */
async function open_(entry) {
  say(`Opening ${entry.name} …`);
  try {
    const [facts, picture] = [
      await (await ask(`photographs/${entry.key}`)).json(),
      await (await ask(`photographs/${entry.key}/picture`)).blob(),
    ];
    const bitmap = await createImageBitmap(picture);
    const { width, height, version, base, notice } = facts;
    if (bitmap.width !== width || bitmap.height !== height)
      throw new Error(`${entry.name}: this browser does not show it as the model saw it; save it as a JPEG`);
    const guess = await unpack(facts.guess);
    const ids = facts.label ? await unpack(facts.label) : guess.slice();
    opened?.bitmap.close();
    opened = { entry, bitmap, version, base, labels: new Labels(width, height, ids, guess), clean: 0, worked: 0 };
    points = [];
    resize(Math.max(3, Math.round(Math.max(width, height) / 40)));
    fit();
    changed();
    say("");
    if (notice) complain(`${entry.name} ${notice}`);
    $("picture").setAttribute("aria-label", `${entry.name} with its classes painted over it`);
    $("photographs").value = entry.key;
    return true;
  } catch (error) {
    complain(error.message.startsWith(entry.name) ? error.message : `${entry.name}: ${error.message}`);
    entry.problem ||= error.answer ? error.message : "";
    say("");
    if (opened) $("photographs").value = opened.entry.key;
    return false;
  }
}

/** Save the label. Whether it was saved. */
async function save() {
  if (!opened) return false;
  const { entry, labels, version, base } = opened;
  const state = labels.state;
  const seconds = Math.min(86400, Math.round(opened.worked / 1000));
  say(`Saving ${entry.name} …`);
  try {
    const body = await stream(labels.ids, new CompressionStream("deflate"));
    const query = new URLSearchParams({ version, base, seconds });
    const headers = { "Content-Type": "application/octet-stream" };
    const response = await ask(`photographs/${entry.key}?${query}`, { method: "POST", body, headers });
    const answer = await response.json();
    opened.base = answer.base;
    opened.clean = state;
    opened.worked -= 1000 * seconds;
    for (const one of [entry, ...photographs]) if (one.key === entry.key) Object.assign(one, answer.photograph);
    $("problems").replaceChildren();
    if (answer.notice) complain(`the label is saved, but ${answer.notice}`);
    list();
    say(`${entry.name}: saved`);
    return true;
  } catch (error) {
    if (error.answer?.base !== undefined && error.answer.base !== null) opened.base = error.answer.base;
    $("problems").replaceChildren();
    complain(`${entry.name}: not saved: ${error.message}`);
    say(`${entry.name}: not saved`);
    return false;
  } finally {
    changed();
  }
}

// --------------------------------------------------------------------------------- from photograph to photograph

/** Do one thing with the server at a time; what is asked for meanwhile is left. */
async function alone(work) {
  if (busy) return;
  busy = true;
  press();
  try {
    await work();
  } catch (error) {
    complain(error.message);
  }
  busy = false;
  press();
}

const dirty = () => opened !== null && opened.labels.state !== opened.clean;

/** Ask what becomes of unsaved work. Whether the photograph may be left. */
async function may_leave() {
  if (!dirty()) return true;
  $("unsaved").textContent = `${opened.entry.name} has changes that are not saved.`;
  $("leave").returnValue = "stay";
  $("leave").showModal();
  await new Promise((resolve) => $("leave").addEventListener("close", resolve, { once: true }));
  const answer = $("leave").returnValue;
  return answer === "discard" || (answer === "save" && (await save()));
}

async function go(entry) {
  if (!entry || entry === opened?.entry) return;
  if (await may_leave()) {
    if (opened && !opened.entry.labelled) passed.add(opened.entry.key);
    $("problems").replaceChildren();
    await open_(entry);
  } else $("photographs").value = opened.entry.key;
}

/** The photograph without a label whose guess is the most uncertain; those that were passed over come last. */
function most_uncertain() {
  const left = photographs.filter((one) => !one.labelled && !one.problem && one.key !== opened?.entry.key);
  const rank = (one) => [passed.has(one.key) ? 0 : 1, one.uncertainty ?? -1];
  return left.sort((a, b) => rank(b)[0] - rank(a)[0] || rank(b)[1] - rank(a)[1])[0];
}

/** Open the most uncertain photograph; one that cannot be opened is passed over. */
async function advance() {
  await refresh();
  for (let entry; (entry = most_uncertain()); ) {
    if (await open_(entry)) return;
    if (!entry.problem) return; // the server is gone
  }
  if (!opened) await open_(photographs.find((one) => !one.problem) ?? photographs[0]);
  const left = photographs.some((one) => !one.labelled && !one.problem);
  clearTimeout(changed.timer);
  say(left ? "No other photograph is left" : "All photographs are labelled");
}

function step(by) {
  const at = photographs.findIndex(({ key }) => key === opened?.entry.key);
  alone(() => go(photographs[at + by]));
}

// ------------------------------------------------------------------------------------------------ what is shown

function list(notes) {
  const state = (one) =>
    one.labelled ? `labelled${one.pixels ? `, ${share(one.corrected / one.pixels)} corrected` : ""}`
    : one.problem ? "cannot be opened"
    : one.uncertainty === null ? "no guess yet"
    : `uncertainty ${one.uncertainty.toFixed(2)}`;
  const box = $("photographs");
  while (box.length > photographs.length) box.remove(box.length - 1);
  photographs.forEach((one, i) => {
    const option = box.options[i] ?? box.appendChild(document.createElement("option"));
    option.value = one.key;
    option.textContent = `${one.name}: ${state(one)}`;
  });
  if (opened) box.value = opened.entry.key;
  const done = photographs.filter((one) => one.labelled);
  const sum = (what) => done.reduce((total, one) => total + (one[what] ?? 0), 0);
  const timed = done.filter((one) => one.seconds).length;
  const parts = [`${done.length} of ${photographs.length} labelled`];
  if (sum("pixels")) parts.push(`${number(sum("corrected"))} pixels corrected (${share(sum("corrected") / sum("pixels"))})`);
  if (timed) parts.push(`${(sum("seconds") / timed / 60).toFixed(1)} minutes each`);
  $("progress").textContent = parts.join(", ");
  if (notes) {
    const problems = photographs.filter((one) => one.problem).map((one) => one.problem);
    for (const line of [...notes, ...problems]) if (!list.told.has(line)) complain(line);
  }
}
list.told = new Set(); // lines on the folder, each of which is shown once

const number = (count) => count.toLocaleString("en");
const share = (part) => (part && part < 0.001 ? "< 0.1 %" : `${(100 * part).toFixed(1)} %`);

function say(text) {
  $("status").textContent = text;
}

function complain(text) {
  list.told.add(text);
  $("problems").append(Object.assign(document.createElement("li"), { textContent: text }));
}

/** After a change of the labels: draw them, and count. */
function changed() {
  draw();
  press();
  clearTimeout(changed.timer);
  changed.timer = setTimeout(count, 100); // counting takes a moment on a large photograph
}

function count() {
  if (!opened) return;
  const { labels, entry } = opened;
  const corrected = labels.corrected();
  say(
    `${entry.name}: ${labels.width} x ${labels.height}, ${number(corrected)} pixels corrected ` +
      `(${share(corrected / labels.ids.length)})${dirty() ? ", not saved" : entry.labelled ? ", saved" : ""}`,
  );
}

/** Show which tool and class are chosen, and what can be done. */
function press() {
  for (const button of document.querySelectorAll(".tool")) button.setAttribute("aria-pressed", button.dataset.tool === tool);
  model.classes.forEach(({ id }, i) => $("legend").children[i]?.firstChild.setAttribute("aria-pressed", id === chosen));
  $("hide").setAttribute("aria-pressed", view.hidden);
  $("peek").setAttribute("aria-pressed", view.peek);
  for (const id of ["save", "next"]) $(id).disabled = busy || !opened;
  $("undo").disabled = !opened?.labels.past.length;
  $("redo").disabled = !opened?.labels.future.length;
  $("closing").hidden = !points.length;
  $("picture").classList.toggle("moving", tool === "move" || spaced);
}

/** Draw the brush and the polygon in work. */
function marks(context, ratio) {
  const line = (path) => {
    for (const [style, width] of [["#000", 3], ["#fff", 1.5]]) {
      Object.assign(context, { strokeStyle: style, lineWidth: width * ratio });
      context.stroke(path);
    }
  };
  const path = new Path2D();
  if (points.length) {
    const seen = points.map(([x, y]) => [(x * view.scale + view.left) * ratio, (y * view.scale + view.top) * ratio]);
    seen.forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
    if (pointer) path.lineTo(pointer[0] * ratio, pointer[1] * ratio);
    for (const [x, y] of seen) path.rect(x - 3 * ratio, y - 3 * ratio, 6 * ratio, 6 * ratio);
    line(path);
  } else if (pointer && ["brush", "eraser"].includes(tool) && !spaced) {
    path.arc(pointer[0] * ratio, pointer[1] * ratio, Math.max(1, (diameter * view.scale * ratio) / 2), 0, 2 * Math.PI);
    line(path);
  }
}

function tip() {
  const [x, y] = pointer && opened ? place(pointer).map(Math.floor) : [-1, -1];
  const inside = opened && x >= 0 && y >= 0 && x < opened.labels.width && y < opened.labels.height;
  $("tip").hidden = !inside;
  if (!inside) return null;
  const id = (view.peek ? opened.labels.guess : opened.labels.ids)[y * opened.labels.width + x];
  const found = model.classes.find((one) => one.id === id);
  $("tip").firstChild.style.background = found.colour;
  $("tip").firstChild.classList.toggle("ignored", id === model.ignored);
  $("tip").lastChild.textContent = found.name;
  return id;
}

// ------------------------------------------------------------------------------------------------------- tools

function use(name) {
  if (name !== tool) drop();
  tool = name;
  press();
  draw();
}

function choose(id) {
  chosen = id;
  if (tool === "eraser" || tool === "move") use("brush");
  press();
}

/** Set the brush's diameter. The slider's steps grow with it: from 1 pixel to a third of the photograph. */
function resize(pixels) {
  const most = opened ? Math.max(opened.labels.width, opened.labels.height) / 3 : 100;
  diameter = Math.round(Math.min(most, Math.max(1, pixels)));
  $("size").value = Math.round((100 * Math.log(diameter)) / Math.log(Math.max(most, 2)));
  $("diameter").textContent = `${diameter} px`;
  draw();
}

function fade(percent) {
  view.opacity = Math.min(100, Math.max(0, percent)) / 100;
  $("opacity").value = Math.round(100 * view.opacity);
  $("percent").textContent = `${$("opacity").value} %`;
  draw();
}

function peek(on) {
  view.peek = on;
  press();
  tip();
  draw();
}

function hide() {
  view.hidden = !view.hidden;
  press();
  draw();
}

function undo(back) {
  if (!opened || opened.labels.step) return;
  if (back && points.length) points.pop();
  else if (back) opened.labels.undo();
  else opened.labels.redo();
  changed();
}

function drop() {
  points = [];
  press();
  draw();
}

/** Paint the polygon, if it has three points. */
function close_() {
  if (points.length > 2) {
    opened.labels.begin();
    opened.labels.polygon(points, chosen);
    opened.labels.end();
  }
  points = [];
  changed();
}

function point(at) {
  const first = points.length && points[0].map((value, i) => value * view.scale + [view.left, view.top][i]);
  if (points.length > 2 && Math.hypot(at[0] - first[0], at[1] - first[1]) < NEAR) return close_();
  points.push(place(at));
  press();
  draw();
}

// -------------------------------------------------------------------------------------------------- the pointer

const held = new Map(); // pointers that are down: where each is in the canvas
let gesture = null; // what the pointer does while it is down: paint, move, point or pinch
let from = null; // where it was last, in the canvas

function where(event) {
  const box = $("picture").getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

function paintable() {
  return opened && !view.peek && !view.hidden;
}

$("picture").addEventListener("pointerdown", (event) => {
  if (!opened) return;
  work();
  pointer = where(event);
  held.set(event.pointerId, pointer);
  $("picture").setPointerCapture(event.pointerId);
  if (held.size === 2) {
    opened.labels.cancel();
    gesture = "pinch";
    changed();
    return;
  }
  from = pointer;
  const { labels } = opened;
  if (event.button === 2 || (event.button === 0 && event.altKey)) {
    const id = tip();
    gesture = null;
    if (id !== null) choose(id);
  } else if (event.button === 1 || spaced || tool === "move") gesture = "move";
  else if (event.button !== 0 || !paintable()) {
    gesture = null;
    if (event.button === 0) say(view.peek ? "The guess is shown; G shows your label" : "The classes are hidden; H shows them");
  } else if (tool === "polygon") gesture = "point";
  else {
    gesture = "paint";
    labels.begin();
    if (tool === "fill") {
      const [x, y] = place(pointer).map(Math.floor);
      if (x < 0 || y < 0 || x >= labels.width || y >= labels.height) return;
      if (event.shiftKey) labels.replace(labels.ids[y * labels.width + x], chosen);
      else labels.fill(x, y, chosen);
    } else stroke(pointer, pointer);
    draw();
  }
});

function stroke(a, b) {
  opened.labels.stroke(place(a), place(b), diameter, tool === "eraser" ? 0 : chosen);
}

$("picture").addEventListener("pointermove", (event) => {
  const at = where(event);
  if (held.has(event.pointerId)) {
    work();
    if (gesture === "pinch" && held.size === 2) {
      const [other] = [...held].filter(([id]) => id !== event.pointerId).map(([, one]) => one);
      const before = held.get(event.pointerId);
      const spread = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
      move(view.left + (at[0] - before[0]) / 2, view.top + (at[1] - before[1]) / 2);
      zoom(spread(at) / spread(before), [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2]);
    } else if (gesture === "move") move(view.left + at[0] - from[0], view.top + at[1] - from[1]);
    else if (gesture === "paint" && tool !== "fill") {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length ? all : [event]) {
        stroke(from, where(one));
        from = where(one);
      }
    }
    held.set(event.pointerId, at);
    from = at;
  }
  pointer = at;
  tip();
  draw();
});

function lift(event) {
  if (!held.delete(event.pointerId)) return;
  if (gesture === "point" && event.type === "pointerup") point(where(event));
  if (gesture === "paint") {
    event.type === "pointerup" ? opened.labels.end() : opened.labels.cancel();
    changed();
  }
  if (!held.size) gesture = null; // the second finger of two does not paint
  else gesture = "pinch";
  if (event.pointerType !== "mouse") pointer = null;
  draw();
}
$("picture").addEventListener("pointerup", lift);
$("picture").addEventListener("pointercancel", lift);
$("picture").addEventListener("pointerleave", (event) => {
  if (event.pointerType !== "mouse" || held.size) return;
  pointer = null;
  tip();
  draw();
});
$("picture").addEventListener("contextmenu", (event) => event.preventDefault());
$("picture").addEventListener("dblclick", () => tool === "polygon" && close_());
$("picture").addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoom(Math.exp(-Math.max(-240, Math.min(240, event.deltaY)) / 400), where(event));
  },
  { passive: false },
);
new ResizeObserver(draw).observe($("picture"));

// ----------------------------------------------------------------------------------------------------- the keys

const commands = {
  n: () => alone(async () => (await save()) && (await advance())),
  s: () => alone(save),
  PageUp: () => step(-1),
  PageDown: () => step(1),
  b: () => use("brush"),
  e: () => use("eraser"),
  f: () => use("fill"),
  p: () => use("polygon"),
  m: () => use("move"),
  "[": () => resize(Math.min(diameter - 1, diameter / 1.25)),
  "]": () => resize(Math.max(diameter + 1, diameter * 1.25)),
  ",": () => fade(100 * view.opacity - 10),
  ".": () => fade(100 * view.opacity + 10),
  h: hide,
  z: () => undo(true),
  Z: () => undo(false),
  "+": () => zoom(1.25),
  "=": () => zoom(1.25),
  "-": () => zoom(0.8),
  Home: fit,
  ArrowLeft: () => move(view.left + 40, view.top),
  ArrowRight: () => move(view.left - 40, view.top),
  ArrowUp: () => move(view.left, view.top + 40),
  ArrowDown: () => move(view.left, view.top - 40),
  Enter: close_,
  Backspace: () => points.length && undo(true),
  Escape: drop,
  "?": () => $("help").showModal(),
};

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const { key, target } = event;
  const on_control = target.matches?.("select, input, button");
  const native = ["Enter", " ", "Home", "PageUp", "PageDown"].includes(key) || key.startsWith("Arrow");
  if (on_control && (native || target.matches("select"))) return;
  work();
  let command = commands[key] ?? commands[key.toLowerCase()];
  if (event.ctrlKey || event.metaKey) {
    const letter = key.toLowerCase();
    command = { z: () => undo(!event.shiftKey), y: () => undo(false), s: commands.s }[letter];
  } else if (event.altKey) return;
  else if (key === " ") {
    spaced = true;
    command = press;
  } else if (key === "g" || key === "G") command = () => event.repeat || peek(true);
  else if (!command) {
    const found = model.classes.find((one) => one.key === key.toLowerCase());
    command = found && (() => choose(found.id));
  }
  if (!command) return;
  event.preventDefault();
  command();
});
addEventListener("keyup", (event) => {
  if (event.key === " ") spaced = false;
  if (event.key === "g" || event.key === "G") peek(false);
  press();
});
addEventListener("blur", () => {
  spaced = false;
  peek(false);
});

const clicks = {
  next: commands.n,
  save: commands.s,
  undo: commands.z,
  redo: commands.Z,
  close: close_,
  drop,
  hide,
  peek: () => peek(!view.peek),
  fit,
  keys: commands["?"],
};
for (const [id, command] of Object.entries(clicks)) $(id).addEventListener("click", command);
for (const button of document.querySelectorAll(".tool")) button.addEventListener("click", () => use(button.dataset.tool));
$("size").addEventListener("input", () => {
  const most = opened ? Math.max(opened.labels.width, opened.labels.height) / 3 : 100;
  resize(Math.exp(($("size").value / 100) * Math.log(Math.max(most, 2))));
});
$("opacity").addEventListener("input", () => fade($("opacity").value));
$("photographs").addEventListener("change", () => {
  const entry = photographs.find(({ key }) => key === $("photographs").value);
  $("picture").focus();
  alone(() => go(entry));
});
// A click leaves the focus where it is, so that the space bar still moves the photograph.
$("panel").addEventListener("mousedown", (event) => event.target.closest("button") && event.preventDefault());
addEventListener("beforeunload", (event) => dirty() && event.preventDefault());

/** Note that somebody works. Pauses do not count. */
function work() {
  const now = performance.now();
  if (opened && now - work.last < IDLE) opened.worked += now - work.last;
  work.last = now;
}
work.last = performance.now();

for (const { id, name, colour, key } of model.classes) {
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const parts = ["swatch", "name"].map((className) => Object.assign(document.createElement("span"), { className }));
  parts[0].style.background = colour;
  parts[1].textContent = name;
  if (id === model.ignored) button.classList.add("ignored");
  const hint = Object.assign(document.createElement("kbd"), { textContent: key.toUpperCase() });
  button.append(...parts, ...(key ? [hint] : []));
  button.addEventListener("click", () => choose(id));
  $("legend").append(Object.assign(document.createElement("li"), {}));
  $("legend").lastChild.append(button);
}
fade(55);
resize(diameter);
press();
alone(advance);
