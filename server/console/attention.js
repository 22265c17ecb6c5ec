// Sound and desktop notifications: what may be loud is decided by the server, whether this screen may is decided here.

import { RANK } from "./format.js";
import { t } from "./words.js";

const TUNES = { critical: [880, 660, 880, 660], escalate: [784, 784], warning: [587], notice: [] };
const TONE_S = 0.16;
const GAP_MS = 1200;

export class Attention {
  constructor() {
    this.sound = kept("mamori.sound", "on") === "on";
    this.push = kept("mamori.push", "off") === "on" && granted();
    this.context = null;
    this.last = -GAP_MS;
    // Browsers play nothing before somebody touched the page.
    for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => this.wake());
  }

  wake() {
    if (!this.sound) return;
    this.context ??= new AudioContext();
    if (this.context.state === "suspended") this.context.resume();
  }

  toggleSound() {
    this.sound = !this.sound;
    keep("mamori.sound", this.sound);
    this.wake();
    if (this.sound) this.play("warning");
  }

  async togglePush() {
    if (!this.push && "Notification" in window && Notification.permission !== "denied") await Notification.requestPermission();
    this.push = !this.push && granted();
    keep("mamori.push", this.push);
  }

  hear(message, open) {
    if (!message.attention?.loud) return;
    const { alert } = message;
    if (this.sound && RANK[alert.level] >= RANK.warning && performance.now() - this.last > GAP_MS) this.play(alert.level);
    if (this.push && granted() && !document.hasFocus()) this.show(alert, open);
  }

  play(level) {
    if (this.context?.state !== "running") return;
    this.last = performance.now();
    TUNES[level].forEach((pitch, index) => {
      const tone = this.context.createOscillator();
      const gain = this.context.createGain();
      const at = this.context.currentTime + index * TONE_S;
      tone.frequency.value = pitch;
      gain.gain.setValueAtTime(0.09, at);
      gain.gain.exponentialRampToValueAtTime(0.001, at + TONE_S);
      tone.connect(gain).connect(this.context.destination);
      tone.start(at);
      tone.stop(at + TONE_S);
    });
  }

  // No transcript text: notifications stay in the system's own list and on locked screens.
  show(alert, open) {
    const note = new Notification(`${t(alert.level)} — ${t(alert.kind)}`, { body: `${alert.call.agent_id} ${alert.call.queue}`, tag: alert.alert_id, renotify: true, requireInteraction: RANK[alert.level] >= RANK.escalate });
    note.onclick = () => { window.focus(); open(alert.call_id); note.close(); };
  }
}

const granted = () => "Notification" in window && Notification.permission === "granted";

function kept(key, otherwise) {
  try { return localStorage.getItem(key) ?? otherwise; } catch { return otherwise; }
}

function keep(key, on) {
  try { localStorage.setItem(key, on ? "on" : "off"); } catch { /* it lasts for this page */ }
}
