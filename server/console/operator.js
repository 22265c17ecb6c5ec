// The operator's own page for one call: what to say, where the ending procedure stands, and a button for help.
//
// It may stand in an agent desktop. The frame gets its token from the page around it, never by its address:
//   frame.contentWindow.postMessage({ type: "mamori.open", call_id: "c-1", token: "…", language: "ja" }, "https://mamori.example")
// Who may be that page is decided by the server's policy (frame-ancestors): nobody else can have us in a frame.

import { html, render, useEffect, useState } from "./vendor/preact/index.js";
import { request, session, useToken } from "./api.js";
import { STEPS, clock } from "./format.js";
import { Badge, Copy } from "./parts.js";
import { Stream } from "./stream.js";
import { language, setLanguage, t } from "./words.js";

const SILENT_MS = 25000;
const root = document.getElementById("operator");
const framed = window.parent !== window;
const asked = new URLSearchParams(location.search);
const page = { callId: asked.get("call") ?? "", guidance: null, connection: "connecting", heardAt: 0, stream: null };

function open(callId) {
  page.stream?.close();
  Object.assign(page, { callId, guidance: null, connection: "connecting" });
  if (callId) {
    page.stream = new Stream({
      address: () => `/v1/guidance?call=${encodeURIComponent(callId)}`, pings: false,
      onMessage: (message) => { page.guidance = message; page.heardAt = Date.now(); paint(); },
      onState: (state) => { page.connection = state; paint(); },
    });
    page.stream.open();
  }
  paint();
}

function Operator() {
  const [sent, setSent] = useState("");
  const [now, setNow] = useState(Date.now());
  useEffect(() => { const ticking = setInterval(() => setNow(Date.now()), 1000); return () => clearInterval(ticking); }, []);
  useEffect(() => setSent(""), [page.callId]);
  const { guidance } = page;
  const heard = page.connection === "connected" && now - page.heardAt < SILENT_MS;
  const watched = heard && !["lost", "degraded", "unsupported_language"].includes(guidance?.monitoring.state);
  const press = async () => {
    setSent("sending");
    try { await request(`/v1/calls/${encodeURIComponent(page.callId)}/help`, { method: "POST", body: {} }); setSent("sent"); } catch { setSent("failed"); }
  };
  const live = guidance?.live;
  return html`<div class="top"><h1><span class="mark" aria-hidden="true">守</span> ${t("my_call")}</h1>${live && guidance.level !== "none" ? html`<${Badge} level=${guidance.level} />` : null}
      <button type="button" class="small" id="language" lang=${t("other_code")} onClick=${() => { setLanguage(language === "ja" ? "en" : "ja"); paint(); }}>${t("other")}</button></div>
    ${page.callId && guidance !== null && !watched || page.connection === "lost" ? html`<p class="off" role="alert">⚠ ${t("not_watched")}</p>` : null}
    <p class="mood ${live ? guidance.level : ""}" role="status">${mood(guidance)}</p>
    ${live && guidance.phrase ? html`<section class="say" aria-live="polite"><strong>${t("say")}</strong><p lang=${guidance.language}>${guidance.phrase[guidance.language === "en" ? "en" : "ja"]}</p>
      <${Copy} text=${guidance.phrase[guidance.language === "en" ? "en" : "ja"]} /></section>` : null}
    ${live && (guidance.step || STEPS.includes(guidance.next)) ? html`<${Track} guidance=${guidance} />` : null}
    <div class="foot"><button type="button" id="help" disabled=${!live || sent === "sending" || sent === "sent" || guidance.help} onClick=${press}>${sent === "sent" || guidance?.help ? `✓ ${t("help_sent")}` : t("help_button")}</button>
      ${live && guidance.helper ? html`<b>${t("help_taken", { name: guidance.helper })}</b>` : null}${sent === "failed" ? html`<b role="alert">${t("help_failed")}</b>` : null}
      ${live ? html`<span class="soft">${t("talk")} ${clock(guidance.talk_ms + (heard ? now - page.heardAt : 0))} / ${Math.round(guidance.limit_ms / 60000)}:00</span>` : null}</div>`;
}

function mood(guidance) {
  if (!page.callId) return t(framed ? "waiting_call" : "no_call");
  if (!guidance || (!guidance.live && !guidance.ended)) return t("waiting_call");
  if (guidance.ended) return t("call_over");
  return guidance.level === "none" ? t("calm_call") : t(`op_${guidance.level}`);
}

function Track({ guidance }) {
  const reached = STEPS.indexOf(guidance.step);
  const next = STEPS.indexOf(guidance.next);
  return html`<ol class="track" aria-label=${t("procedure")}>${STEPS.map((step, index) => html`<li key=${step} class=${index <= reached ? "done" : index === next ? "next" : ""} aria-current=${index === next ? "step" : null}>
    ${index <= reached ? "✓ " : ""}${t(step)}<span class="unseen">${index <= reached ? t("done") : index === next ? t("next") : ""}</span></li>`)}</ol>`;
}

const paint = () => render(html`<${Operator} />`, root);

addEventListener("message", (event) => {
  if (!framed || event.source !== window.parent || event.data?.type !== "mamori.open") return;
  const { call_id: callId, token, language: wanted } = event.data;
  if (typeof token === "string") useToken(token);
  if (wanted === "ja" || wanted === "en") setLanguage(wanted);
  if (typeof callId === "string") open(callId);
});

document.documentElement.lang = language;
paint();
// Learns the token against cross-site requests where somebody signed in; with a bearer token there is none.
session().then(() => open(page.callId), () => { if (!framed) open(page.callId); });
