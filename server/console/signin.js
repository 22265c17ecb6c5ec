// Signing in: by name and password, or at the house's identity provider.

import { html, useState } from "./vendor/preact/index.js";
import { signIn } from "./api.js";
import { t } from "./words.js";

export function SignIn({ desk, methods }) {
  const [problem, setProblem] = useState(desk.said);
  const [busy, setBusy] = useState(false);
  async function onSubmit(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    setBusy(true);
    try {
      await signIn(form.get("name"), form.get("password"));
      desk.said = "";
      await desk.begin();
    } catch (refused) {
      setBusy(false);
      setProblem(t(refused.status === 401 ? "wrong" : refused.status === 429 ? "too_many" : "error"));
    }
  }
  return html`<main class="sign-in"><h1><span class="mark" aria-hidden="true">守</span> Mamori</h1>
    ${problem ? html`<p class="problem" role="alert">${problem}</p>` : null}
    ${methods.includes("oidc") ? html`<p><a class="button primary" href="/v1/session/oidc">${t("or_provider")}</a></p>` : null}
    ${methods.includes("password") ? html`<form id="sign-in" onSubmit=${onSubmit}><label class="field">${t("name")}<input name="name" autocomplete="username" required autofocus maxlength="128" /></label>
      <label class="field">${t("password")}<input name="password" type="password" autocomplete="current-password" required maxlength="1024" /></label>
      <button class="primary" disabled=${busy}>${t("sign_in")}</button></form>` : null}
    <button type="button" class="small" id="language" lang=${t("other_code")} onClick=${() => desk.toggleLanguage()}>${t("other")}</button></main>`;
}
