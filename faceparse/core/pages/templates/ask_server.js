"use strict";

/** Ask the server for the parsing of a photograph. `packed` holds the class ids, deflated. */
async function ask(file) {
  let response;
  try {
    const headers = { "Content-Type": "application/octet-stream" };
    response = await fetch(`parse?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file, headers });
  } catch {
    throw new Error(`${file.name}: the server does not answer; is 'faceparse web' still running?`);
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return {
    ...answer,
    packed: bytes(answer.ids),
    labels: bytes(answer.labels),
    picture: answer.picture && bytes(answer.picture),
  };
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
