// Asking the REST interface. Whoever is not logged in is sent to the log-in page.

export async function ask(path, options = {}) {
  const answer = await fetch(`/api${path}`, { credentials: "same-origin", ...options });
  if (answer.status === 401) {
    location.assign("/login");
  }
  if (!answer.ok) {
    throw new Error(await reason(answer));
  }
  return answer;
}

export async function told(path, options) {
  return (await ask(path, options)).json();
}

export function post(path, value) {
  const headers = { "Content-Type": "application/json" };
  return told(path, { method: "POST", ...(value && { headers, body: JSON.stringify(value) }) });
}

export function problem(text, status) {
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === "string" ? detail : detail.map((item) => item.msg).join("; ");
  } catch {
    return `the service answered ${status}`;
  }
}

async function reason(answer) {
  return problem(await answer.text(), answer.status);
}

// An element with its attributes and children; text is always text, never markup.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) {
      made.addEventListener(key.slice(2), value);
    } else if (value !== false && value !== undefined) {
      made.setAttribute(key, value);
    }
  }
  made.append(...children);
  return made;
}

export function byId(id) {
  return document.getElementById(id);
}

export function when(seconds) {
  return new Date(1000 * seconds).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
