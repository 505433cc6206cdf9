// The model's first words, and the live picture of the camera: frames are parsed one after the other.
"use strict";

const LIVE = 640; // longer side of a frame that is parsed, pixels

(() => {
  const dialog = $("camera");
  const canvas = $("live");

  say("Loading the model …");
  work("open").then(
    () => $("status").textContent === "Loading the model …" && say("The model is ready."),
    (error) => {
      say("");
      complain(error.message);
    },
  );

  function grab() {
    const scale = Math.min(1, LIVE / Math.max(video.videoWidth, video.videoHeight));
    const frame = surface(Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
    frame.getContext("2d", { willReadFrequently: true }).drawImage(video, 0, 0, frame.width, frame.height);
    return frame;
  }

  async function follow() {
    let [first, rate, last] = [true, 0, performance.now()];
    $("rate").textContent = "Parsing …";
    while (dialog.open && $("parsing").checked) {
      if (!video.videoWidth) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        continue;
      }
      const frame = grab();
      const { data, height, width } = frame.getContext("2d").getImageData(0, 0, frame.width, frame.height);
      let answer;
      try {
        answer = await work("frame", { pixels: { data, height, width }, first }, [data.buffer]);
      } catch (error) {
        $("rate").textContent = error.message;
        break;
      }
      if (!dialog.open || !$("parsing").checked) break;
      first = false;
      paint(frame, answer.ids);
      const now = performance.now();
      rate = rate ? 0.8 * rate + (0.2 * 1000) / (now - last) : 1000 / (now - last);
      last = now;
      const { faces } = answer;
      const seen = faces === null ? "" : faces === 0 ? "no face found, " : faces === 1 ? "1 face, " : `${faces} faces, `;
      $("rate").textContent = `${seen}${rate.toFixed(1)} frames a second`;
    }
    canvas.hidden = true;
    if (dialog.open && !$("parsing").checked) $("rate").textContent = "";
  }

  function paint(frame, ids) {
    Object.assign(canvas, { width: frame.width, height: frame.height });
    const layer = surface(frame.width, frame.height);
    colour(layer.getContext("2d"), ids, palette());
    const context = canvas.getContext("2d");
    context.drawImage(frame, 0, 0);
    context.globalAlpha = $("opacity").value / 100;
    context.drawImage(layer, 0, 0);
    canvas.hidden = false;
  }

  let running = Promise.resolve();
  const start = () => (running = running.then(follow));
  video.addEventListener("loadeddata", start);
  $("parsing").addEventListener("change", () => $("parsing").checked && start());
})();
