// Sets the chosen colours before anything is drawn.

try {
  const kept = localStorage.getItem("mamori.theme");
  if (kept) document.documentElement.dataset.theme = kept;
} catch { /* no storage: as the system has it */ }
