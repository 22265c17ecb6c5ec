// What is not well beside the watching itself: asked of /readyz now and then, and shown in a quieter place than the banner,
// which says that calls are not watched.

import { html } from "./vendor/preact/index.js";
import { request } from "./api.js";
import { t } from "./words.js";

const EVERY_MS = 10_000;
const SHOWN = ["model", "disk", "load", "calls", "delivery", "listeners", "background"];

async function checks() {
  try {
    return (await request("/readyz")).checks;
  } catch (refused) {
    // 503 carries the same checks; without a connection the banner says all there is to say.
    return refused.status === 503 ? refused.detail.checks : {};
  }
}

// Asks for ever; `tell` hears of the checks whenever they have changed.
export function watchHealth(tell) {
  let before = "";
  const ask = async () => {
    const found = await checks();
    const unwell = SHOWN.filter((name) => found?.[name] && found[name] !== "ok").map((name) => ({ name, why: found[name] }));
    if (before !== JSON.stringify(unwell)) {
      before = JSON.stringify(unwell);
      tell(unwell);
    }
    setTimeout(ask, EVERY_MS);
  };
  ask();
}

export const Health = ({ unwell }) => (unwell.length ? html`<div id="health" class="health" role="status">${unwell.map(({ name, why }) => html`<p key=${name}>△ ${t(`unwell_${name}`)} <span class="soft">${why}</span></p>`)}</div>` : null);
