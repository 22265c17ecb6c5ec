// Which language is shown, and the words in it.

import { EN } from "./words.en.js";
import { JA } from "./words.ja.js";

const WORDS = { ja: JA, en: EN };
const KEY = "mamori.language";

export let language = first();

function first() {
  try {
    const kept = localStorage.getItem(KEY);
    if (kept === "ja" || kept === "en") return kept;
  } catch { /* no storage: as the browser speaks */ }
  const asked = new URLSearchParams(location.search).get("lang");
  if (asked === "ja" || asked === "en") return asked;
  return navigator.language.startsWith("ja") ? "ja" : "en";
}

export function setLanguage(next) {
  language = next;
  try { localStorage.setItem(KEY, next); } catch { /* private mode: it lasts for this page */ }
  document.documentElement.lang = next;
}

// Words for a key; `{name}` is filled in from the values.
export function t(key, values = {}) {
  const words = WORDS[language][key];
  if (words === undefined) return key;
  return words.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}
