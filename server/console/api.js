// HTTP calls to our own server, with the credential that this page has: the session's cookie, or a token in memory.

let csrf = "";
let token = null;

export class Refused extends Error {
  constructor(status, detail) {
    super(detail?.message ?? String(status));
    this.status = status;
    this.code = detail?.code ?? "unavailable";
    this.detail = detail;
  }
}

export function useToken(value) { token = value; }
export const socketProtocols = () => (token ? ["mamori.v1", `bearer.${token}`] : ["mamori.v1"]);

export async function request(path, { method = "GET", body, accept = "application/json" } = {}) {
  const headers = { Accept: accept };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token) headers.Authorization = `Bearer ${token}`;
  else if (csrf && method !== "GET") headers["X-CSRF-Token"] = csrf;
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store", credentials: "same-origin" });
  } catch {
    throw new Refused(0, { code: "unavailable", message: "no connection" });
  }
  if (response.status === 204) return null;
  const json = (response.headers.get("content-type") ?? "").includes("json");
  const answer = json ? await response.json() : await response.text();
  if (!response.ok) {
    const refused = new Refused(response.status, answer?.error ?? answer);
    refused.methods = answer?.methods;
    throw refused;
  }
  return answer;
}

export async function session() {
  const who = await request("/v1/session");
  csrf = who.csrf ?? "";
  return who;
}

export async function signIn(name, password) {
  const who = await request("/v1/session", { method: "POST", body: { name, password } });
  csrf = who.csrf ?? "";
  return who;
}

export const signOut = () => request("/v1/session", { method: "DELETE" });
