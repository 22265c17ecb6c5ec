// The console's words in Japanese and English, and which of them is shown.

const WORDS = {
  ja: {
    alerts: "アラート", floor: "通話一覧", queue: "窓口", all: "すべて", sound: "音", close: "閉じる", level: "レベル", call: "通話",
    labels: "内容", talk: "通話時間", rounds: "繰り返し", monitoring: "監視", resolve: "対応を終える", outcome: "結果", note: "メモ",
    cancel: "やめる", acknowledge: "確認", snooze: "5分後に再通知", keys: "J/K 移動 ・ A 確認 ・ S 再通知 ・ R 終了 ・ Enter 通話を開く",
    connected: "接続中", lost: "サーバーとの接続が切れています — 監視できていません", degraded: "監視が一部できていません",
    none: "平常", notice: "注意", warning: "警告", escalate: "交代", critical: "緊急",
    abuse: "暴言・脅し等", repetition: "堂々巡り", overlong: "長時間", distress: "支援要請",
    verbal_abuse: "暴言", threat: "脅迫", exposure: "晒し", excessive_demand: "過大な要求", authority: "権威", discrimination: "差別",
    sexual: "性的言動", intrusion: "個人攻撃", help: "助けを求めています", caller_at_risk: "発信者の安全", apology_loop: "謝罪の繰り返し",
    silence_after_abuse: "沈黙", harassment: "カスハラ", complaint: "正当な苦情", false_alarm: "誤検知",
    ok: "監視中", incomplete: "欠落あり", degraded_state: "一部未採点", lost_state: "監視できていません", unsupported_language: "対応外の言語",
    caution: "お願い", first_warning: "一次警告", final_warning: "最終警告", may_end: "終話可", supervisor: "管理者", phrase: "読み上げ文例",
    copy: "コピー", copied: "コピーしました", law: "該当しうる法令", customer: "お客様", agent: "オペレーター", unknown: "不明",
    provisional: "速報（確定前）", late: "遅れて検出", by: "対応中:", first: "先に対応した人:", error: "操作できませんでした", other: "English",
    empty: "アラートはありません", refer: "根拠",
  },
  en: {
    alerts: "Alerts", floor: "Live calls", queue: "Queue", all: "All", sound: "Sound", close: "Close", level: "Level", call: "Call",
    labels: "What", talk: "Talk time", rounds: "Rounds", monitoring: "Monitoring", resolve: "Resolve", outcome: "Outcome", note: "Note",
    cancel: "Cancel", acknowledge: "Acknowledge", snooze: "Snooze 5 min", keys: "J/K move · A acknowledge · S snooze · R resolve · Enter open call",
    connected: "Connected", lost: "Connection to the server lost — not monitored", degraded: "Not fully monitored",
    none: "Calm", notice: "Notice", warning: "Warning", escalate: "Escalate", critical: "Critical",
    abuse: "Abuse", repetition: "Going in circles", overlong: "Overlong", distress: "Support needed",
    verbal_abuse: "Verbal abuse", threat: "Threat", exposure: "Exposure", excessive_demand: "Excessive demand", authority: "Authority",
    discrimination: "Discrimination", sexual: "Sexual", intrusion: "Intrusion", help: "Asks for help", caller_at_risk: "Caller at risk",
    apology_loop: "Apology loop", silence_after_abuse: "Silence", harassment: "Harassment", complaint: "Fair complaint", false_alarm: "False alarm",
    ok: "Monitored", incomplete: "Incomplete", degraded_state: "Partly unscored", lost_state: "Not monitored", unsupported_language: "Language not supported",
    caution: "Caution", first_warning: "First warning", final_warning: "Final warning", may_end: "May end", supervisor: "Supervisor", phrase: "Phrase to read out",
    copy: "Copy", copied: "Copied", law: "Law that may apply", customer: "Customer", agent: "Operator", unknown: "Unknown",
    provisional: "Provisional", late: "Found late", by: "With:", first: "First was:", error: "Not possible", other: "日本語",
    empty: "No alerts", refer: "Guideline",
  },
};

export let language = stored("mamori.language") === "en" ? "en" : "ja";

function stored(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}

export function setLanguage(next) {
  language = next;
  try { localStorage.setItem("mamori.language", next); } catch { /* private mode: it lasts for this page */ }
  document.documentElement.lang = next;
}

export const t = (key) => WORDS[language][key] ?? key;

export function translatePage(root = document) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
}

export function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
