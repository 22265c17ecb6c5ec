// The keyboard: every action of the floor without a mouse.

export function onKey(desk, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || desk.asked) return;
  if (event.target.closest?.("input, textarea, select, dialog")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const cards = [...document.querySelectorAll("[data-id]")].filter((card) => card.getClientRects().length);
  const at = cards.findIndex((card) => card.dataset.id === desk.focused);
  const alert = desk.store.alerts.get(at < 0 && desk.page === "call" ? cards[0]?.dataset.id : cards[at]?.dataset.id);
  const move = (index) => cards[Math.max(0, Math.min(cards.length - 1, index))]?.focus();
  const doing = {
    j: () => move(at + 1),
    k: () => move(at - 1),
    a: () => alert && desk.command(alert, "acknowledge"),
    s: () => alert && desk.command(alert, "snooze", { for_s: 300 }),
    r: () => alert && desk.askOutcome(alert),
    c: () => document.getElementById("copy")?.click(),
    m: () => desk.toggleSound(),
    1: () => desk.go("floor"),
    2: () => desk.go("alerts"),
    3: () => desk.go("reports"),
    "?": () => desk.ask({ what: "keys" }),
    Escape: () => desk.page !== "floor" && desk.go("floor"),
    Enter: () => alert && event.target.matches?.("[data-id]") && desk.openCall(alert.call_id),
  }[key];
  if (!doing) return;
  if (key !== "Enter") event.preventDefault();
  doing();
}

