// The page's side of worker.js. app.js asks it for the parsing of a photograph, camera.js for that of a frame.
"use strict";

/** Ask the worker. `kind` is open, photograph or frame. */
const work = (() => {
  if (typeof WebAssembly !== "object" || typeof Worker !== "function")
    return () => Promise.reject(new Error("this browser has no WebAssembly or it is switched off; take another one"));
  // A worker that is started from a text has the page's own policy: it, too, can reach nobody but this host.
  const text = `import ${JSON.stringify(new URL("worker.js", document.baseURI).href)};`;
  const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })), { type: "module" });
  const asked = new Map();
  let count = 0;
  let broken = null;
  worker.addEventListener("message", ({ data: { number, answer, error } }) => {
    const { resolve, reject } = asked.get(number);
    asked.delete(number);
    error === undefined ? resolve(answer) : reject(new Error(error));
  });
  worker.addEventListener("error", () => {
    broken = new Error("worker.js: cannot be loaded; is the folder complete, and served over http?");
    for (const { reject } of asked.values()) reject(broken);
    asked.clear();
  });
  return (kind, content, transferred = []) =>
    new Promise((resolve, reject) => {
      if (broken) return reject(broken);
      asked.set(++count, { resolve, reject });
      worker.postMessage({ number: count, kind, content }, transferred);
    });
})();

function ask(file) {
  return work("photograph", file);
}
